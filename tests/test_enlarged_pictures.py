"""What a model that enlarges pictures is given of one, what of a request it takes, and what is kept."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from golden import upscaling_models as models

from sdgen.checkpoints import Checkpoint, open_checkpoint
from sdgen.checkpoints.vae_file import with_vae
from sdgen.diffusion.noise import ImageNoise
from sdgen.errors import CheckpointError, InputError
from sdgen.models import Entry
from sdgen.pipeline.defaults import check_fast, filled
from sdgen.pipeline.editing.enlarged_picture import kept, small_picture
from sdgen.pipeline.loop_arguments import WINDOW, rows_at_once
from sdgen.pipeline.sampler_tables import request_table
from sdgen.pipeline.upscale_start import UpscaledStart, UpscaleStarter
from sdgen.request import Request

ENTRY = Entry("an upscaler", size=512)
FACTOR, MULTIPLE = 4, 32


@pytest.fixture(scope="module")
def x4(tmp_path_factory: Any) -> Checkpoint:
    return open_checkpoint(models.write_x4(tmp_path_factory.mktemp("x4") / "x4"))


@pytest.fixture(scope="module")
def ldm_sr(tmp_path_factory: Any) -> Checkpoint:
    return open_checkpoint(models.write_ldm_sr(tmp_path_factory.mktemp("ldm") / "ldm"))


@pytest.fixture(scope="module", params=["x4", "ldm_sr"])
def checkpoint(request: Any) -> Checkpoint:
    return request.getfixturevalue(request.param)


def pixels(width: int, height: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def asked(size: tuple[int, int] = (40, 30), **fields: Any) -> Request:
    return Request(prompt="", init_image=pixels(*size), **fields)


def resolved(request: Request, checkpoint: Checkpoint) -> Request:
    return filled(request, ENTRY, checkpoint, MULTIPLE, "ddim")


def test_a_picture_is_enlarged_by_the_models_factor_where_none_is_asked_for(checkpoint: Checkpoint) -> None:
    request = resolved(asked(), checkpoint)
    assert request.upscale == 4 and request.strength is None
    assert request.stored_size == (160, 120)


@pytest.mark.parametrize(
    ("size", "drawn"),
    [((40, 32), (160, 128)), ((1, 1), (32, 32)), ((41, 30), (192, 128)), ((2000, 1500), (8000, 6016))],
)
def test_what_is_drawn_has_the_least_size_that_the_networks_take(
    size: tuple[int, int], drawn: tuple[int, int], checkpoint: Checkpoint
) -> None:
    request = resolved(asked(size), checkpoint)
    assert (request.width, request.height) == drawn


def test_a_resolved_request_resolves_to_itself(checkpoint: Checkpoint) -> None:
    request = resolved(asked((41, 30), upscale=2), checkpoint)
    assert resolved(request, checkpoint) == request


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"upscale": 8}, "upscale"),
        ({"width": 64}, "width"),
        ({"height": 64}, "height"),
        ({"strength": 0.5}, "strength"),
        ({"resize": "fit"}, "resize"),
        ({"seamless": "x"}, "seamless"),
        ({"hires": "2"}, "hires"),
    ],
)
def test_what_means_nothing_to_an_enlarged_picture_is_refused(
    fields: dict[str, Any], field: str, checkpoint: Checkpoint
) -> None:
    with pytest.raises(InputError) as caught:
        resolved(asked(**fields), checkpoint)
    assert caught.value.field == field


def test_a_model_that_enlarges_draws_nothing_without_a_picture(checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError, match="enlarges pictures and cannot draw one; give it a picture"):
        resolved(Request(prompt=""), checkpoint)


def test_a_model_that_draws_enlarges_nothing(checkpoint: Checkpoint) -> None:
    draws = dataclasses.replace(
        checkpoint, family=dataclasses.replace(checkpoint.family, upscales=0, tasks=("text-to-image",))
    )
    with pytest.raises(InputError, match="draws pictures and enlarges none"):
        resolved(asked(upscale=4), draws)


def test_a_side_that_becomes_too_long_is_refused(ldm_sr: Checkpoint) -> None:
    with pytest.raises(InputError, match="would draw 24000x32 of 6000x1; the most is 16384"):
        resolved(asked((6000, 1), upscale=2), ldm_sr)


def test_steps_and_guidance_are_the_families(x4: Checkpoint, ldm_sr: Checkpoint) -> None:
    found = [resolved(asked(), checkpoint) for checkpoint in (x4, ldm_sr)]
    assert [(each.steps, each.guidance, each.noise_level) for each in found] == [
        (75, 9.0, 20),
        (100, 1.0, None),
    ]


def test_a_noise_level_is_refused_by_a_model_that_takes_none(ldm_sr: Checkpoint) -> None:
    with pytest.raises(InputError, match="takes no noise on the picture"):
        resolved(asked(upscale=4, noise_level=20), ldm_sr)


def test_a_noise_level_beyond_the_models_is_refused(x4: Checkpoint) -> None:
    short = dataclasses.replace(x4, low_res_scheduler={**x4.low_res_scheduler, "num_train_timesteps": 100})
    with pytest.raises(InputError, match="knows noise levels of 0 to 99, not 100"):
        resolved(asked(upscale=4, noise_level=100), short)


def test_shortcuts_are_for_a_picture_that_is_drawn_at_once(x4: Checkpoint) -> None:
    check_fast(resolved(asked((128, 128), fast=True), x4), (512, 512))
    with pytest.raises(InputError, match="fast is for what is drawn at once, up to 512x512"):
        check_fast(resolved(asked((136, 128), fast=True), x4), (512, 512))


@pytest.mark.parametrize("size", [(40, 30), (1, 1), (8, 8), (3, 17)])
def test_the_small_picture_goes_on_mirrored(size: tuple[int, int], ldm_sr: Checkpoint) -> None:
    request = resolved(asked(size), ldm_sr)
    given, (width, height) = pixels(*size), size
    found = small_picture(request, FACTOR)
    assert found.shape == (request.height // FACTOR, request.width // FACTOR, 3)
    assert np.array_equal(found[:height, :width], given)
    assert np.array_equal(found[height : 2 * height, :width], given[::-1][: len(found) - height])
    assert np.array_equal(found[:height, width : 2 * width], given[:, ::-1][:, : found.shape[1] - width])


def test_what_went_on_beyond_the_picture_is_cut_off(ldm_sr: Checkpoint) -> None:
    request = resolved(asked((41, 30)), ldm_sr)
    drawn = pixels(request.width, request.height)
    assert np.array_equal(kept(request, FACTOR, drawn), drawn[:120, :164])


def test_less_than_the_models_factor_is_reduced(ldm_sr: Checkpoint) -> None:
    request = resolved(asked((41, 30), upscale=2), ldm_sr)
    flat = np.full((request.height, request.width, 3), 77, np.uint8)
    found = kept(request, FACTOR, flat)
    assert found.shape == (60, 82, 3) and (found == 77).all()


@pytest.mark.parametrize("upscale", [2, 4])
def test_transparency_is_enlarged_with_the_picture(upscale: int, ldm_sr: Checkpoint) -> None:
    given = pixels(40, 30, 4)
    given[..., 3], given[:15, :, 3] = 255, 0
    request = resolved(Request(prompt="", init_image=given, upscale=upscale), ldm_sr)
    found = kept(request, FACTOR, pixels(request.width, request.height))
    assert found.shape == (30 * upscale, 40 * upscale, 4)
    assert (found[: 11 * upscale, :, 3] == 0).all() and (found[19 * upscale :, :, 3] == 255).all()


def test_a_vae_in_place_of_a_codebook_is_refused(ldm_sr: Checkpoint, x4: Checkpoint) -> None:
    with pytest.raises(CheckpointError, match="has a VQ-VAE, which no VAE replaces; leave out --vae"):
        with_vae(ldm_sr, Path(x4.source) / "vae")


def test_another_vae_has_the_models_scale(x4: Checkpoint) -> None:
    replaced = with_vae(x4, Path(x4.source) / "vae")
    assert replaced.vae.config["scaling_factor"] == 0.08333
    assert replaced.changes == ("vae replaced",)


def start(checkpoint: Checkpoint, request: Request, seed: int = 3) -> UpscaledStart:
    full = resolved(request, checkpoint)
    table = request_table(checkpoint.scheduler, full, forced=checkpoint.family.forced)
    shape = (full.height // FACTOR, full.width // FACTOR, checkpoint.unet.config["out_channels"])
    return UpscaleStarter(checkpoint.low_res_scheduler, FACTOR)(full, table, ImageNoise(seed, "torch"), shape)


def test_noise_on_the_picture_is_drawn_before_the_latents(x4: Checkpoint) -> None:
    noise = ImageNoise(3, "torch")
    on_picture, latents = noise.normal(32, 40, 3), noise.normal(32, 40, 4)
    found = start(x4, asked((40, 32), upscale=4, noise_level=350))
    assert np.array_equal(found.latents, latents)
    given = pixels(40, 32) / np.float32(127.5) - 1
    alone = (found.channels - np.sqrt(1 - on_picture_signal(x4)) * on_picture) / np.sqrt(
        on_picture_signal(x4)
    )
    assert np.abs(alone - given).max() < 1e-4
    assert found.label == 350


def on_picture_signal(x4: Checkpoint) -> float:
    scheduler = x4.low_res_scheduler
    betas = np.linspace(scheduler["beta_start"] ** 0.5, scheduler["beta_end"] ** 0.5, 1000) ** 2
    return float(np.cumprod(1 - betas)[350])


@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpmpp-2m"])
def test_the_picture_is_given_as_it_is_whatever_the_sampler(sampler: str, ldm_sr: Checkpoint) -> None:
    found = start(ldm_sr, asked((40, 32), sampler=sampler))
    assert np.abs(found.channels - (pixels(40, 32) / np.float32(127.5) - 1)).max() < 1e-6
    assert np.array_equal(found.latents.shape, (32, 40, 3)) and found.label is None


def test_noise_of_a_large_picture_comes_a_few_rows_at_a_time() -> None:
    assert rows_at_once((512, 512, 4), fresh_noise=True) == WINDOW
    assert rows_at_once((1504, 2000, 4), fresh_noise=False) == WINDOW
    assert rows_at_once((1504, 2000, 4), fresh_noise=True) * 1504 * 2000 * 4 <= 1 << 25
    assert rows_at_once((8192, 8192, 4), fresh_noise=True) == 1
