"""The linear decoder: colours of latents, and how near those of the bundled model come to its VAE's."""

from __future__ import annotations

import numpy as np
import pytest

from sdgen.checkpoints.families.linear_decoder import LinearDecoder, linear_decoder, neighbourhoods

STABLE_DIFFUSION = {"latent_channels": 4, "scaling_factor": 0.18215}
MINI = {"latent_channels": 8, "scaling_factor": 1.0}


def test_a_neighbourhood_is_the_positions_around_and_a_constant() -> None:
    latents = np.arange(12.0).reshape(3, 4, 1)
    rows = neighbourhoods(latents, 3)
    assert rows.shape == (12, 10)
    assert rows[5].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10, 1]


def test_beyond_the_edge_the_edge_goes_on() -> None:
    assert neighbourhoods(np.arange(4.0).reshape(2, 2, 1), 3)[0].tolist() == [0, 0, 1, 0, 0, 1, 2, 2, 3, 1]


def test_each_position_becomes_a_block_of_pixels() -> None:
    weights = np.zeros((2, 2 * 2 * 3), np.float32)
    weights[0, 3 * 1 : 3 * 2] = 1  # the upper right pixel of a block is the latent
    weights[1, 3 * 2 : 3 * 3] = 1  # the lower left is white
    decoder = LinearDecoder(weights, channels=1, factor=2)
    pixels = decoder(np.asarray([[[1.0], [-1.0]]]))
    assert pixels.shape == (2, 4, 3)
    assert pixels[..., 0].tolist() == [[128, 255, 128, 0], [255, 128, 255, 128]]


@pytest.mark.parametrize("vae", [STABLE_DIFFUSION, MINI])
def test_values_beyond_the_range_and_no_numbers_are_colours(vae: dict[str, float]) -> None:
    decoder = linear_decoder(vae)
    assert decoder is not None
    latents = np.zeros((4, 4, decoder.channels), np.float32)
    latents[0, 0], latents[1, 1], latents[2, 2] = np.nan, np.inf, 1e30
    assert decoder(latents).dtype == np.uint8


def test_stable_diffusion_s_first_channel_is_brightness() -> None:
    decoder = linear_decoder(STABLE_DIFFUSION)
    assert decoder is not None
    dark, light = decoder(np.asarray([[[-2.0, 0, 0, 0], [2.0, 0, 0, 0]]]))[0].astype(int)
    assert (light > dark).all()


def test_latents_of_an_unknown_space_have_no_linear_decoder() -> None:
    assert linear_decoder({"latent_channels": 16, "scaling_factor": 0.3611}) is None


@pytest.mark.slow
def test_the_bundled_model_s_linear_decoder_is_near_its_vae() -> None:
    import sdgen
    from sdgen import backend

    pipeline = sdgen.load("mini", dtype="float32")
    job = pipeline.read(sdgen.Request(prompt="a red heart", seed=7, steps=8, sampler="dpmpp-2m"))
    *_, denoised = pipeline.draw([job], 1, jit=False)
    (image,) = pipeline.decode(denoised)
    assert backend.active() and image.pixels is not None
    decoder = linear_decoder(pipeline.checkpoint.vae.config)
    assert decoder is not None
    estimate = decoder(denoised.latents[0]).astype(np.float64)
    assert 10 * np.log10(255**2 / np.mean((estimate - image.pixels) ** 2)) > 18
