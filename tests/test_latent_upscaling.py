"""The x2 latent upscaler as diffusers' pipeline draws (golden/make_latent_upscaling.py), on both backends.

``python test_latent_upscaling.py BACKEND FOLDER FILE`` draws with the model of a folder.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import on_jax
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from golden import latent_upscaling_models as models

import sdgen
from sdgen.diffusion.choices import KARRAS
from sdgen.diffusion.samplers import sampler_table
from sdgen.errors import InputError
from sdgen.images.metrics import psnr
from sdgen.request import Request


def pictures(folder: Path) -> dict[str, np.ndarray]:
    """Of all cases, thinned."""
    engine = sdgen.load(str(folder), device="cpu", dtype="float32")
    requests = [
        Request(init_image=models.small_picture(), upscale=2, rng="torch", prompt_syntax="plain", **case)
        for case in models.CASES.values()
    ]
    found = {}
    for case, image in zip(models.CASES, engine.generate(requests), strict=True):
        assert image.pixels is not None, image.error
        found[case] = models.thinned(image.pixels)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    return models.write_x2(tmp_path_factory.mktemp("latent-upscaling") / "x2")


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def drawn(request: Any, folder: Path, tmp_path_factory: Any) -> dict[str, np.ndarray]:
    if request.param == "tensorflow":
        return pictures(folder)
    return on_jax.outputs(__file__, tmp_path_factory.mktemp("jax") / "drawn.npz", folder)


@pytest.mark.slow
@pytest.mark.parametrize("case", models.CASES)
def test_the_latent_upscaler_enlarges_as_diffusers_does(drawn: dict[str, np.ndarray], case: str) -> None:
    with np.load(Path(__file__).parent / "golden" / "latent_upscaling.npz") as stored:
        assert psnr(drawn[case], stored[case]) > 40


@pytest.fixture(scope="module")
def engine(folder: Path) -> Any:
    return sdgen.load(str(folder), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: Any) -> Any:
    """With windows of 16x16 latents, 64x64 pixels of the picture that is given."""
    folder = models.write_x2(tmp_path_factory.mktemp("windowed") / "x2", sample_size=16)
    return sdgen.load(str(folder), device="cpu", dtype="float32")


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (65, 3), (70, 101)])
def test_a_picture_of_any_size_is_enlarged_in_its_latents(windowed: Any, size: tuple[int, int]) -> None:
    given = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    (image,) = windowed.generate([Request(prompt="", init_image=given, upscale=2, steps=2, guidance=1.0)])
    assert image.pixels is not None, image.error
    assert image.pixels.shape == (2 * size[1], 2 * size[0], 3)


def request(**fields: Any) -> Request:
    return Request(**{"prompt": "", "init_image": models.small_picture(), "upscale": 2, **fields})


def test_the_latent_upscalers_defaults_are_the_references(engine: Any) -> None:
    resolved = engine.resolve(request())
    assert (resolved.steps, resolved.guidance, resolved.sampler) == (75, 9.0, "euler")
    assert (resolved.width, resolved.height) == (192, 128)


def test_pictures_are_drawn_large_enough_to_be_mirrored_where_the_network_is_deepest(engine: Any) -> None:
    resolved = engine.resolve(request(init_image=np.zeros((5, 33, 3), np.uint8)))
    assert (resolved.width, resolved.height) == (128, 128)


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"upscale": 4}, "upscale", "enlarges by 2, not by 4"),
        ({"sampler": "ddim"}, "sampler", "sampler euler alone, not ddim"),
        ({"fast": True}, "fast", "leave fast out"),
        ({"noise_level": 20}, "noise_level", "takes no noise"),
        ({"eta": 0.5}, "eta", "eta is for"),
    ],
)
def test_what_the_latent_upscaler_cannot_do_is_refused(
    engine: Any, fields: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        next(iter(engine.generate([request(**fields)])))
    assert caught.value.field == field


def test_outputs_are_preconditioned_as_karras_and_others_do_and_levels_told_by_their_logarithm() -> None:
    config = {**models.SCHEDULER, "prediction_type": KARRAS}
    table = sampler_table(config, "euler", 7)
    sigma = table.sigma_in / table.alpha_in
    noisy, output = np.random.default_rng(0).normal(size=(2, 7))
    expected = noisy / (sigma**2 + 1) + sigma / np.sqrt(sigma**2 + 1) * output
    given = noisy / np.sqrt(sigma**2 + 1)
    np.testing.assert_allclose(table.p * given + table.q * output, expected, rtol=1e-12)
    np.testing.assert_allclose(table.data_p * given + table.data_q * output, expected, rtol=1e-12)
    np.testing.assert_allclose(table.timesteps, np.log(sigma) / 4, rtol=1e-12)


def test_another_prediction_type_than_the_latent_upscalers_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="leave the prediction type out"):
        sdgen.load(str(folder), prediction_type="epsilon")


if __name__ == "__main__":
    from sdgen import backend

    backend.activate(sys.argv[1])
    np.savez(sys.argv[3], **pictures(Path(sys.argv[2])))
