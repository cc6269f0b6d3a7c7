"""The sampling loop under each part of a conditioning, on a small UNet with random weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from golden import small_networks
from golden.inputs import normal

from sdgen import backend
from sdgen.diffusion.samplers import sampler_table
from sdgen.pipeline.conditioning import Conditioning, KnownLatents

SCHEDULER = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SHAPE = (2, 16, 8, 4)


def denoiser(name: str = "unet-sd2") -> Any:
    backend.activate("tensorflow")
    from sdgen.backend.program import Arriving
    from sdgen.networks.attention import scaled_dot_product
    from sdgen.networks.config import UNetConfig
    from sdgen.networks.layers import Numerics
    from sdgen.networks.unet import UNet
    from sdgen.pipeline.sampling_loop import Denoiser

    unet = UNet(
        UNetConfig.from_config(small_networks.UNETS[name]),
        Numerics("float32", "float32", "direct", scaled_dot_product),
    )
    weights = small_networks.values_of(unet)
    arriving = Arriving({n: value.shape for n, value in weights.items()}, "float32", lambda: weights)
    return Denoiser(SimpleNamespace(network=unet, arriving=arriving), None, lambda: None)


@pytest.fixture(scope="module")
def sd2():
    return denoiser()


def tables(sampler: str = "euler", steps: int = 5) -> list[Any]:
    return [sampler_table(SCHEDULER, sampler, steps)] * 2


def conditioning(**more: Any) -> Conditioning:
    return Conditioning(normal(2, 4, 5, 24), np.full((2, 2), [3.0, 0.0], np.float32), **more)


def run(loop: Any, given: Conditioning, **more: Any) -> list[Any]:
    """The slices, as arrays; by TensorFlow's graph runtime, which is ready soon."""
    slices = loop.run(more.pop("tables", tables()), normal(4, *SHAPE), None, given, jit=False, **more)
    from sdgen.pipeline.sampling_loop import Slice

    return [Slice(part.rows, *map(np.asarray, (part.latents, part.estimate))) for part in slices]


def test_slices_end_where_the_caller_asks(sd2) -> None:
    run(sd2, conditioning())
    rows = [part.rows for part in run(sd2, conditioning(), stops=(2, 3))]
    assert {2, 3, 5} <= set(rows)
    assert rows == sorted(rows)


def test_the_estimate_is_the_image_that_the_step_goes_towards(sd2) -> None:
    """DDIM without fresh noise: x' = alpha' x0 + sigma' (x - alpha x0) / sigma."""
    used = tables("ddim")
    parts = {part.rows: part for part in run(sd2, conditioning(), tables=used, stops=(1, 2, 3, 4))}
    before, after, table = parts[2], parts[3], used[0]
    noise = (before.latents - table.alpha[1] * after.estimate) / table.sigma[1]
    expected = table.alpha[2] * after.estimate + table.sigma[2] * noise
    np.testing.assert_allclose(after.latents, expected, rtol=1e-3, atol=1e-4)


def test_the_last_estimate_is_the_result_where_no_noise_is_left(sd2) -> None:
    last = run(sd2, conditioning())[-1]
    np.testing.assert_allclose(last.estimate, last.latents, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp-2m", "unipc", "plms"])
def test_known_latents_stand_noised_after_each_row_and_bare_at_the_end(sd2, sampler: str) -> None:
    mask = np.zeros((2, 16, 8, 1), np.float32)
    mask[:, 4:9] = 1
    known = KnownLatents(normal(5, *SHAPE), mask, normal(6, *SHAPE))
    used = tables(sampler)
    rows = len(used[0].timesteps)
    parts = run(sd2, conditioning(known=known), tables=used, stops=tuple(range(1, rows)))
    assert parts[-1].rows == rows
    for part in parts:
        alpha, sigma = used[0].alpha[part.rows - 1], used[0].sigma[part.rows - 1]
        expected = alpha * known.latents + sigma * known.noise
        np.testing.assert_allclose(part.latents[:, :4], expected[:, :4], rtol=1e-5, atol=1e-5)
        assert np.abs(part.latents[:, 4:9] - expected[:, 4:9]).min() > 1e-5
    np.testing.assert_array_equal(parts[-1].latents[:, 9:], known.latents[:, 9:])


def test_a_mask_of_ones_changes_nothing(sd2) -> None:
    known = KnownLatents(normal(5, *SHAPE), np.ones((2, 16, 8, 1), np.float32), normal(6, *SHAPE))
    drawn = run(sd2, conditioning(known=known))[-1].latents
    np.testing.assert_allclose(drawn, run(sd2, conditioning())[-1].latents, rtol=1e-5, atol=1e-5)


def test_what_is_grey_is_drawn_once_the_timestep_is_below_it(sd2) -> None:
    """InvokeAI's rule (extensions/inpaint.py), its mask turned round: drawn where grey > t / 1000."""
    mask = np.broadcast_to(np.linspace(0, 1, 8, dtype=np.float32)[:, None], (2, 16, 8, 1)).copy()
    known = KnownLatents(normal(5, *SHAPE), mask, normal(6, *SHAPE))
    used = tables("ddim", 6)
    for part in run(sd2, conditioning(known=known), tables=used, stops=(1, 2, 3, 4, 5)):
        alpha, sigma = used[0].alpha[part.rows - 1], used[0].sigma[part.rows - 1]
        expected = alpha * known.latents + sigma * known.noise
        following = [*used[0].timesteps[1:], 0][part.rows - 1] / 1000
        kept = np.isclose(part.latents, expected, rtol=1e-5, atol=1e-5).all(-1, keepdims=True)
        np.testing.assert_array_equal(kept, mask <= following)


def test_one_program_serves_black_and_white_and_greys() -> None:
    loop = denoiser()
    for mask in (np.zeros((2, 16, 8, 1), np.float32), np.full((2, 16, 8, 1), np.float32(0.3))):
        run(loop, conditioning(known=KnownLatents(normal(5, *SHAPE), mask, normal(6, *SHAPE))))
    assert loop.compilations == 1


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("unet-labels", {"labels": np.asarray([1, 2, 3, 4]), "channels": normal(7, 2, 16, 8, 3)}),
        (
            "unet-sdxl",
            {"pooled": normal(8, 4, 20), "sizes": np.tile(small_networks.SIZES, (2, 1))},
        ),
    ],
)
def test_guidance_halves_have_vectors_of_their_own_and_share_channels(name: str, more: dict) -> None:
    """One Euler step of the loop against the network called for each half by itself."""
    loop, table = denoiser(name), tables("euler", 1)
    unet, weights = loop.unet, small_networks.values_of(loop.unet)
    (drawn,) = run(loop, conditioning(**more), tables=table)
    x, context = normal(4, *SHAPE), normal(2, 4, 5, 24)
    channels = more.get("channels")
    fed = x if channels is None else np.concatenate([x, channels], -1)
    timesteps = np.full((1, 2), table[0].timesteps[0], np.float32)
    halves = []
    for half in (slice(0, 2), slice(2, 4)):
        vectors = {key: value[half] for key, value in more.items() if key != "channels"}
        shifts = unet.embed_timesteps(weights, timesteps, vectors)[0]
        keys_values = unet.project_context(weights, context[half])
        halves.append(np.asarray(unet.denoise(weights, fed, shifts, keys_values)))
    prediction = halves[0] + 3.0 * (halves[1] - halves[0])
    expected = table[0].data_p[0] * x + table[0].data_q[0] * prediction
    np.testing.assert_allclose(drawn.estimate, expected, rtol=1e-3, atol=1e-3)


def test_what_the_network_does_not_take_is_refused(sd2) -> None:
    with pytest.raises(ValueError, match="beside timesteps"):
        run(sd2, conditioning(labels=np.asarray([1, 2, 3, 4])))


def test_what_is_absent_is_no_argument_of_the_program() -> None:
    assert conditioning().maps().keys() == {"guidance"}
    assert Conditioning().maps() == Conditioning().vectors() == Conditioning().text() == {}
