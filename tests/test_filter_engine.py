"""The engine without weights: pictures enlarged by a filter of Pillow's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

import sdgen
from sdgen import models
from sdgen.errors import InputError
from sdgen.pipeline.watching import Watch
from sdgen.request import FIELDS, Request
from sdgen.request.upscale_methods import FILTERS

RESAMPLING = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}


def noise(height: int, width: int, channels: int = 3) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), np.uint8)


def enlarging(picture: Any, factor: int = 4, **fields: Any) -> Request:
    return Request(**{"prompt": "", "init_image": picture, "upscale": factor, **fields})


def enlarged(picture: Any, factor: int = 4, method: str = "lanczos") -> np.ndarray[Any, np.dtype[np.uint8]]:
    (image,) = sdgen.load(method).generate([enlarging(picture, factor)])
    assert image.pixels is not None and image.pixels.shape[1::-1] == image.request.stored_size
    return image.pixels


@pytest.mark.parametrize("method", FILTERS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 5), (61, 43)])
@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_it_is_pillows_filter_for_any_size(method: str, size: tuple[int, int], factor: int) -> None:
    picture = noise(*size)
    by_pillow = Image.fromarray(picture).resize((size[1] * factor, size[0] * factor), RESAMPLING[method])
    assert np.array_equal(enlarged(picture, factor, method), by_pillow)


@pytest.mark.parametrize("method", FILTERS)
def test_alpha_is_enlarged_as_a_picture_of_its_own_would_be(method: str) -> None:
    picture = noise(20, 30, 4)
    alpha = Image.fromarray(picture[..., 3]).resize((120, 80), RESAMPLING[method])
    assert np.array_equal(enlarged(picture, 4, method)[..., 3], alpha)


@pytest.mark.parametrize("method", FILTERS)
def test_what_is_behind_transparent_pixels_does_not_show_at_edges(method: str) -> None:
    picture = np.zeros((16, 16, 4), np.uint8)  # Transparent black, and a red square.
    picture[4:12, 4:12] = 200, 40, 30, 255
    large = enlarged(picture, 4, method)
    seen = large[large[..., 3] > 0][:, :3].astype(int)
    assert np.abs(seen - [200, 40, 30]).max() <= 1
    assert set(np.unique(large[..., 3])) > {0, 255}


@pytest.mark.parametrize("alpha", [False, True])
def test_a_picture_without_transparency_gets_none(alpha: bool) -> None:
    picture = noise(6, 8)
    opaque = np.dstack([picture, np.full((6, 8), 255, np.uint8)])
    assert np.array_equal(enlarged(opaque if alpha else picture), enlarged(picture))
    assert enlarged(opaque).shape == (24, 32, 3)


SET: dict[str, Any] = {
    "prompt": "a fox",
    "negative_prompt": "fog",
    "seed": 7,
    "steps": 20,
    "guidance": 5,
    "sampler": "ddim",
    "schedule": "karras",
    "eta": 0.5,
    "width": 64,
    "height": 64,
    "rng": "torch",
    "prompt_syntax": "plain",
    "clip_skip": 1,
    "guidance_rescale": 0.5,
    "spacing": "leading",
    "zero_snr": True,
    "fast": True,
    "tiles": True,
    "noise_level": 20,
    "variation_of": 3,
    "prompt_to": "a wolf",
}


@pytest.mark.parametrize("field", SET)
def test_what_a_filter_has_not_is_refused(field: str) -> None:
    assert FIELDS[field].default != SET[field]
    with pytest.raises(InputError, match=f"^lanczos is a filter and has no {field}") as caught:
        sdgen.load("lanczos").resolve(enlarging(noise(4, 4), **{field: SET[field]}))
    assert caught.value.field == field


def test_a_filter_draws_no_picture() -> None:
    with pytest.raises(InputError, match=r"^lanczos enlarges pictures and draws none"):
        sdgen.load("lanczos").resolve(Request(prompt=""))


@pytest.mark.parametrize(
    "option",
    [{"vae": "x"}, {"loras": [("x", 1.0)]}, {"embeddings": ["x"]}, {"variant": "fp16"}],
)
def test_what_is_for_weights_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^lanczos is a filter without weights: leave out"):
        sdgen.load("lanczos", **option)


def test_there_are_no_steps_to_watch() -> None:
    filter = sdgen.load("lanczos")
    with pytest.raises(InputError, match=r"^lanczos has no steps"):
        list(filter.stream([enlarging(noise(4, 4))], watch=Watch()))


def test_a_picture_that_has_changed_is_an_error_of_its_image_alone(tmp_path: Any) -> None:
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (4, 4), colour).save(tmp_path / name)
    requests = [enlarging(str(tmp_path / name)) for name in ("a.png", "b.png")]
    Image.new("RGB", (4, 4), "green").save(tmp_path / "a.png")
    first, second = sdgen.load("bicubic").generate(requests)
    assert first.pixels is None and "shows another picture than before" in str(first.error)
    assert second.pixels is not None and (second.pixels == [0, 0, 255]).all()


def test_filters_are_known_beside_models_and_not_among_them() -> None:
    for name in FILTERS:
        assert models.find(name).weightless and name not in models.names()
    assert not models.find("mini").weightless


@pytest.mark.parametrize("call", [models.locate, models.pull, models.verify, models.remove])
def test_of_a_filter_nothing_is_fetched_or_removed(call: Any) -> None:
    more = {"task": None} if call is models.locate else {}
    with pytest.raises(InputError, match=r"^lanczos is a filter, and needs no weights"):
        call("lanczos", **more)


def test_no_model_of_the_catalogue_may_have_a_filters_name(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_CONFIG_DIR", str(tmp_path))
    (tmp_path / "catalog.toml").write_text('[bicubic]\ntask = "upscaling"\npath = "x"\n')
    with pytest.raises(InputError, match="a filter that enlarges pictures has this name"):
        models.names()
