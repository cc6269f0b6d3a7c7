"""Requests that repaint a part of a picture: what they are, and what is drawn of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdgen.errors import InputError
from sdgen.pipeline.editing.resizing import resized
from sdgen.request import Request
from sdgen.request.mask_fields import borders, zoomed_out


def picture(height: int = 96, width: int = 128) -> Any:
    """Noise on a slope, uint8 (height, width, 3): no pixel that is drawn comes out as it was by chance."""
    rng = np.random.default_rng(height * width)
    slope = np.linspace(40, 200, width)[None, :, None]
    return (slope + rng.integers(-20, 20, (height, width, 3))).astype(np.uint8)


def mask(height: int = 96, width: int = 128, level: int = 255) -> Any:
    """White in the middle, uint8 (height, width)."""
    white = np.zeros((height, width), np.uint8)
    white[height // 4 : -height // 4, width // 4 : -width // 4] = level
    return white


def request(**fields: Any) -> Request:
    given = {"prompt": "a red heart", "steps": 2, "seed": 3, "init_image": picture(), "mask": mask()}
    return Request(**{**given, **fields})


def outside(drawn: Any, before: Any, white: Any) -> int:
    """How many pixels differ where the mask is black."""
    return int((drawn[white == 0] != before[white == 0]).any(-1).sum())


def psnr(a: Any, b: Any) -> float:
    error = np.mean((a.astype(float) - b) ** 2)
    return float(np.inf if error == 0 else 10 * np.log10(255**2 / error))


@pytest.mark.parametrize(
    "fields",
    [
        {"mask_blur": 2},
        {"only_masked": 8},
        {"colour_match": True},
        {"mask": None, "mask_alpha": False, "mask_blur": 2},
    ],
)
def test_what_is_for_masks_means_nothing_without_one(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="means nothing without mask or mask_alpha or outpaint"):
        Request(**{"prompt": "a", "init_image": picture(), **fields})


def test_a_mask_means_nothing_without_a_picture() -> None:
    with pytest.raises(InputError, match="mask means nothing without init_image"):
        Request(prompt="a", mask=mask())


@pytest.mark.parametrize("size", [(96, 128), (192, 256), (48, 64), (24, 33)])
def test_a_mask_of_the_same_proportions_fits(size: tuple[int, int]) -> None:
    assert request(mask=mask(*size)).masked


@pytest.mark.parametrize("size", [(128, 96), (128, 128), (96, 120), (1, 1000)])
def test_a_mask_of_other_proportions_is_refused_with_both_sizes(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"the mask is {size[1]}x{size[0]} and the picture 128x96") as caught:
        request(mask=np.full(size, 255, np.uint8))
    assert caught.value.field == "mask"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"mask": mask(level=0)}, "the mask is black throughout"),
        ({"mask": np.full((96, 128), 255, np.uint8), "mask_invert": True}, "is white throughout and turned"),
        ({"mask": None, "mask_alpha": True}, "mask of the picture's transparency is black throughout"),
        ({"mask_alpha": True}, "mask and mask_alpha both"),
        ({"hires": 2}, "hires enlarges"),
        ({"only_masked": 8, "resize": "fit"}, "keeps its size; leave out resize fit"),
        ({"outpaint": "8", "width": 128, "height": 128}, "the size follows"),
        ({"resize": "none", "width": 64, "height": 64}, "the picture comes to 128x96 and 64x64"),
        ({"strength": 0}, "none of 2 steps"),
    ],
)
def test_what_cannot_be_repainted_is_a_sentence(mini: Any, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        mini.resolve(request(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"init_image": picture(83, 117), "mask": mask(83, 117)},
        {"mask_blur": 0},
        {"mask_blur": 20, "colour_match": True},
        {"mask": mask(level=120)},
        {"only_masked": 4, "width": 64, "height": 64},
        {"only_masked": 60, "width": 128, "height": 64, "colour_match": True},
        {"strength": 0.5, "rng": "torch", "sampler": "euler-a", "steps": 4},
    ],
)
def test_what_is_black_comes_back_bit_for_bit(mini: Any, fields: dict[str, Any]) -> None:
    asked = request(**fields)
    before = asked.init_image.pixels()[..., :3]
    (image,) = mini.generate([asked])
    assert image.pixels.shape == before.shape
    assert image.request.stored_size == before.shape[1::-1]
    white = asked.mask.pixels()[..., 0]
    assert outside(image.pixels, before, white) == 0
    assert (image.pixels != before).any(-1)[white > 0].mean() > 0.5


def test_a_picture_that_is_resized_comes_back_where_the_mask_is_black(mini: Any) -> None:
    (image,) = mini.generate([request(width=64, height=64)])
    before = resized(picture(), 64, 64, "fill")
    # Of 96 x 96 pixels, each of 64 x 64 has a part in two along each side.
    white = mask()[:, 16:112][:, np.arange(64)[:, None] * 3 // 2 + [0, 1]].max(-1)
    black = white[np.arange(64)[:, None] * 3 // 2 + [0, 1]].max(1) == 0
    np.testing.assert_array_equal(image.pixels[black], before[black])


def test_what_is_transparent_is_repainted_and_becomes_opaque(mini: Any) -> None:
    pixels = np.dstack([picture(), np.full((96, 128), 255, np.uint8)])
    pixels[20:70, 30:90, 3] = 0
    (image,) = mini.generate([request(init_image=pixels, mask=None, mask_alpha=True)])
    assert image.pixels.shape == (96, 128, 3)
    assert outside(image.pixels, pixels[..., :3], 255 - pixels[..., 3]) == 0


def test_transparency_that_no_mask_repaints_comes_back_with_its_colours(mini: Any) -> None:
    pixels = np.dstack([picture(), np.full((96, 128), 255, np.uint8)])
    pixels[:10, :10, 3] = 77
    (image,) = mini.generate([request(init_image=pixels)])
    assert image.pixels.shape == (96, 128, 4)
    black = mask() == 0
    np.testing.assert_array_equal(image.pixels[black], pixels[black])


def test_an_inverted_mask_keeps_what_is_white(mini: Any) -> None:
    (image,) = mini.generate([request(mask_invert=True)])
    assert outside(image.pixels, picture(), 255 - mask()) == 0
    assert outside(image.pixels, picture(), mask()) > 1000


def test_a_full_mask_is_image_to_image(mini: Any) -> None:
    """At strength 1 it begins at noise alone, as text to image does."""
    full = np.full((96, 128), 255, np.uint8)
    inpainted, plain = mini.generate(
        [
            request(mask=full, rng="torch", strength=0.5, steps=4),
            request(mask=None, rng="torch", strength=0.5, steps=4),
        ]
    )
    assert psnr(inpainted.pixels, plain.pixels) > 45


def test_pictures_masks_strengths_and_steps_of_a_batch_are_those_of_one_by_one(mini: Any) -> None:
    requests = [
        request(seed=1),
        request(seed=2, strength=0.5, steps=6, mask=mask(level=120)),
        request(seed=3, init_image=picture()[:, ::-1], mask_invert=True),
        request(seed=4, steps=5, strength=0.8, mask_blur=16, sampler="dpmpp-2m"),
        request(seed=5, only_masked=8, width=128, height=96, sampler="euler-a", steps=3),
    ]
    before = mini.compilations
    together = list(mini.generate(requests, batch_size=5))
    assert mini.compilations <= before + 1
    for image, asked in zip(together, requests, strict=True):
        (alone,) = mini.generate([asked], batch_size=1)
        assert psnr(image.pixels, alone.pixels) > 45, asked


@pytest.mark.parametrize(
    ("outpaint", "pixels"),
    [
        ("128,0,64,8", (128, 0, 64, 8)),
        ("25%,50%,0,100%", (50, 50, 0, 100)),
        ("16", (16, 16, 16, 16)),
        (" 10px , 5 %,0,0", (10, 5, 0, 0)),
        ((1, 2, 3, 4), (1, 2, 3, 4)),
    ],
)
def test_borders_are_pixels_or_shares_of_a_side(outpaint: Any, pixels: tuple[int, ...]) -> None:
    asked = Request(prompt="a", init_image=picture(100, 200), outpaint=outpaint)
    assert borders(asked.outpaint, 200, 100) == pixels
    assert Request.from_dict(asked.to_dict()) == asked


@pytest.mark.parametrize(
    "outpaint",
    ["", "1,2,3", "1,2,3,4,5", "-1,0,0,0", "0", "0%,0,0,0", "1.5,0,0,0", "401%,0,0,0", "5000", "a,b,c,d"],
)
def test_borders_that_are_none_are_refused(outpaint: str) -> None:
    with pytest.raises(InputError, match="outpaint"):
        Request(prompt="a", init_image=picture(), outpaint=outpaint)


def test_zooming_out_makes_the_picture_so_many_times_as_large() -> None:
    left, top, right, bottom = borders(zoomed_out(1.5), 200, 100)
    assert (200 + left + right, 100 + top + bottom) == (300, 150)
    assert (left, top) == (right, bottom)


@pytest.mark.slow
@pytest.mark.parametrize(("outpaint", "only"), [("5,7,6,5", None), ("0,0,50%,0", 16)])
def test_outpainting_keeps_the_pictures_pixels_and_has_the_size_asked_for(
    mini: Any, outpaint: str, only: int | None
) -> None:
    before = picture(83, 117)
    fields = {} if only is None else {"only_masked": only, "width": 128, "height": 128}
    asked = request(init_image=before, mask=None, outpaint=outpaint, **fields)
    (image,) = mini.generate([asked])
    left, top, right, bottom = borders(outpaint, 117, 83)
    assert image.pixels.shape == (83 + top + bottom, 117 + left + right, 3)
    np.testing.assert_array_equal(image.pixels[top : top + 83, left : left + 117], before)


def test_an_image_that_was_repainted_is_drawn_again_from_its_record(mini: Any, tmp_path: Path) -> None:
    Image.fromarray(picture(83, 117)).save(tmp_path / "a.png")
    Image.fromarray(mask(83, 117)).save(tmp_path / "m.png")
    asked = request(init_image=tmp_path / "a.png", mask=tmp_path / "m.png")
    (image,) = mini.generate([asked])
    recorded = Request.from_dict(image.request.to_dict())
    assert mini.resolve(recorded) == recorded == image.request
    (again,) = mini.generate([recorded])
    np.testing.assert_array_equal(again.pixels, image.pixels)
