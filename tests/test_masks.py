"""Masks: reading, sizes, soft edges, latents; and pasting by them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from sdgen.errors import InputError
from sdgen.images.image import Image
from sdgen.pipeline.editing import cropping, masks, outpainting
from sdgen.pipeline.editing.colour_matching import matched
from sdgen.pipeline.editing.finishing import finished
from sdgen.pipeline.editing.pasting import pasted
from sdgen.request import Request


def grey(level: int, alpha: int = 255) -> Any:
    return np.full((2, 3, 4), [level, level, level, alpha], np.uint8)


def square(size: int = 64, low: int = 16, high: int = 48) -> Any:
    mask = np.zeros((size, size), np.float32)
    mask[low:high, low:high] = 1
    return mask


@pytest.mark.parametrize(
    ("level", "expected"), [(0, 0), (8, 0), (51, 0.2), (128, 128 / 255), (247, 1), (255, 1)]
)
def test_white_is_repainted_and_greys_in_part(level: int, expected: float) -> None:
    np.testing.assert_allclose(masks.mask_of_picture(grey(level)), expected, rtol=1e-6)


def test_colours_count_by_their_brightness() -> None:
    red = np.full((1, 1, 4), [255, 0, 0, 255], np.uint8)
    np.testing.assert_allclose(masks.mask_of_picture(red), 0.299, rtol=1e-6)


def test_what_is_transparent_in_a_mask_is_not_repainted() -> None:
    assert not masks.mask_of_picture(grey(255, alpha=0)).any()


def test_the_mask_of_a_pictures_alpha_repaints_what_is_transparent() -> None:
    assert masks.mask_of_alpha(grey(0, alpha=0)).min() == 1
    assert masks.mask_of_alpha(grey(200, alpha=255)).max() == 0
    np.testing.assert_allclose(masks.mask_of_alpha(grey(9, alpha=51)), 0.8, rtol=1e-6)


def test_an_inverted_mask_repaints_the_rest() -> None:
    np.testing.assert_array_equal(masks.inverted(square()), 1 - square())


def test_an_empty_mask_is_refused_and_one_grey_pixel_is_enough() -> None:
    mask = np.zeros((8, 8), np.float32)
    with pytest.raises(InputError, match="black throughout"):
        masks.require_some(mask)
    mask[3, 3] = 0.1
    masks.require_some(mask)


@pytest.mark.parametrize("size", [(7, 9), (20, 31), (64, 64), (100, 130)])
def test_a_resized_mask_keeps_a_line_of_one_pixel(size: tuple[int, int]) -> None:
    mask = np.zeros((64, 64), np.float32)
    mask[37] = 1
    resized = masks.resized_mask(mask, *size)
    assert resized.shape == size
    assert resized.max(axis=0).min() == 1
    assert 0 < resized.mean() < 0.2


def test_a_mask_is_resized_by_its_proportions() -> None:
    np.testing.assert_array_equal(masks.resized_mask(square(), 32, 32), square(32, 8, 24))
    np.testing.assert_array_equal(masks.resized_mask(square(), 128, 128), square(128, 32, 96))


def test_a_latent_pixel_is_repainted_if_any_of_its_64_is() -> None:
    mask = np.zeros((16, 24), np.float32)
    mask[7, 8], mask[15, 23], mask[8, 0] = 1, 0.4, 0.2
    np.testing.assert_allclose(masks.latent_mask(mask, 8)[..., 0], [[0, 1, 0], [0.2, 0, 0.4]])


@pytest.mark.parametrize("blur", [0.5, 4, 20, 100])
def test_blur_leaves_black_as_it_is(blur: float) -> None:
    soft = masks.softened(square(), blur)
    assert not soft[square() == 0].any()
    assert soft.max() > 0.9


def test_the_edge_is_that_of_a_gaussian_within_what_is_white() -> None:
    mask = np.zeros((80, 200), np.float32)
    mask[:, 100:] = 1
    edge = masks.softened(mask, 4)[40, 100:]
    depth = np.arange(100) + 0.5
    expected = [math.erf(d / 4 / math.sqrt(2)) for d in depth]
    np.testing.assert_allclose(edge, expected, atol=0.05)
    assert (np.diff(edge) >= -1e-4).all()
    # Where the picture ends, the mask does not.
    assert edge[-1] > 0.999


def test_a_line_thinner_than_the_blur_is_still_repainted() -> None:
    mask = np.zeros((64, 64), np.float32)
    mask[30:32] = 1
    assert masks.softened(mask, 8)[30:32].min() > 0.9


@pytest.mark.parametrize("mask", [np.zeros((8, 8), np.float32), np.ones((8, 8), np.float32)])
def test_blur_has_no_edge_to_soften_in_an_empty_or_full_mask(mask: Any) -> None:
    np.testing.assert_array_equal(masks.softened(mask, 4), mask)


def test_no_blur_leaves_the_mask_as_it_is() -> None:
    np.testing.assert_array_equal(masks.softened(square() * np.float32(0.5), 0), square() * np.float32(0.5))


def test_greys_are_softened_in_proportion() -> None:
    whole, half = masks.softened(square(), 4), masks.softened(square() * np.float32(0.5), 4)
    np.testing.assert_allclose(half, whole / 2, rtol=1e-6)


def random_pictures() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (64, 64, 3), np.uint8), rng.integers(0, 256, (64, 64, 3), np.uint8)


@pytest.mark.parametrize("blur", [0, 4, 30])
def test_what_is_black_comes_back_bit_for_bit(blur: float) -> None:
    picture, drawn = random_pictures()
    result = pasted(picture, drawn, masks.softened(square(), blur))
    black = square() == 0
    np.testing.assert_array_equal(result[black], picture[black])
    assert (result[~black] != picture[~black]).mean() > 0.5


def test_what_is_white_is_what_was_drawn() -> None:
    picture, drawn = random_pictures()
    white = square() == 1
    np.testing.assert_array_equal(pasted(picture, drawn, square())[white], drawn[white])


def test_the_picture_goes_over_into_what_was_drawn_within_the_mask() -> None:
    picture, drawn = np.zeros((1, 5, 3), np.uint8), np.full((1, 5, 3), 200, np.uint8)
    mask = np.asarray([[0, 0.1, 0.25, 0.5, 1]], np.float32)
    np.testing.assert_array_equal(pasted(picture, drawn, mask)[0, :, 0], [0, 40, 100, 200, 200])


LOSSLESS = ("png", "webp", "tiff", "bmp", "ppm", "gif", "png", "tiff", "webp", "bmp")


@pytest.mark.parametrize("number", range(10))
def test_a_file_comes_back_to_the_bit_where_its_mask_is_black(number: int, tmp_path: Path) -> None:
    """As a picture is finished and stored, whatever was drawn; every second one has transparency."""
    rng = np.random.default_rng(number)
    height, width = rng.integers(20, 90, 2)
    channels = 4 if number % 2 and LOSSLESS[number] in ("png", "webp", "tiff") else 3
    before = rng.integers(0, 256, (height, width, channels), np.uint8)
    white = np.where(rng.random((height // 4 + 1, width // 4 + 1)) < 0.3, 255, 0).repeat(4, 0).repeat(4, 1)
    white = np.ascontiguousarray(white[:height, :width]).astype(np.uint8)
    if LOSSLESS[number] == "gif":  # Which has 256 colours.
        before = np.broadcast_to(before[..., :1], before.shape)
    for name, pixels in (("picture", before), ("mask", white)):
        pixels = pixels[..., 0] if LOSSLESS[number] == "gif" and pixels.ndim == 3 else pixels
        file = tmp_path / f"{name}.{LOSSLESS[number]}"
        PIL.Image.fromarray(pixels).save(
            file, **({"lossless": True, "exact": True} if file.suffix == ".webp" else {})
        )
    asked = Request(
        prompt="a",
        init_image=tmp_path / f"picture.{LOSSLESS[number]}",
        mask=tmp_path / f"mask.{LOSSLESS[number]}",
        mask_blur=number * 2,
        only_masked=(None, 5)[number % 2],
        colour_match=number % 3 == 0,
        width=96,
        height=96,
        resize="fill" if number % 2 else "none",
        strength=1,
        steps=1,
    )
    drawn, error = finished(asked, rng.integers(0, 256, (96, 96, 3), np.uint8))
    assert error is None
    saved = Image(asked, drawn, 0.0).save(tmp_path / "out.png")
    after = np.asarray(PIL.Image.open(saved.path))
    black = white == 0
    np.testing.assert_array_equal(after[black], before[black])
    assert (after != before).any(-1)[~black].any()


def test_a_drift_that_the_surroundings_tell_of_is_taken_back() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(40, 200, (64, 64, 3)).astype(np.uint8)
    drifted = np.clip(truth * np.float32(1.08) - 9, 0, 255).astype(np.uint8)
    after = matched(drifted, truth, square() == 0)
    inside = square() == 1
    before_error, error = (
        np.abs(each[inside].astype(float) - truth[inside]).mean() for each in (drifted, after)
    )
    assert error < before_error / 2


def test_surroundings_of_one_colour_do_not_change_others() -> None:
    truth = np.full((64, 64, 3), 250, np.uint8)
    drawn = np.full((64, 64, 3), 244, np.uint8)
    drawn[square() == 1] = (200, 30, 30)
    after = matched(drawn, truth, square() == 0)
    np.testing.assert_allclose(after[square() == 1].mean(0), (206, 36, 36), atol=1)


def test_nothing_known_leaves_the_colours() -> None:
    drawn = grey(77)[..., :3]
    np.testing.assert_array_equal(matched(drawn, grey(99)[..., :3], np.zeros((2, 3), bool)), drawn)


@pytest.mark.parametrize(
    ("padding", "size", "box"),
    [
        (0, (64, 64), (16, 16, 48, 48)),
        (8, (64, 64), (8, 8, 56, 56)),
        (8, (128, 64), (-16, 8, 80, 56)),
        (100, (64, 64), (0, 0, 64, 64)),
    ],
)
def test_the_part_that_is_drawn_is_the_mask_with_padding_in_the_sizes_proportions(
    padding: int, size: tuple[int, int], box: tuple[int, ...]
) -> None:
    assert cropping.box_of_mask(square(), padding, *size) == box


def test_a_part_at_the_edge_is_moved_into_the_picture() -> None:
    mask = np.zeros((100, 200), np.float32)
    mask[90:, 190:] = 1
    assert cropping.box_of_mask(mask, 10, 64, 64) == (180, 80, 200, 100)
    assert cropping.box_of_mask(mask, 10, 128, 64) == (160, 80, 200, 100)


def test_a_part_beyond_the_picture_is_mirrored_and_left_out_again() -> None:
    pixels = np.arange(12).reshape(3, 4)
    part = cropping.taken_out(pixels, (-2, -1, 6, 4))
    np.testing.assert_array_equal(part, np.pad(pixels, [(1, 1), (2, 2)], mode="symmetric"))
    np.testing.assert_array_equal(cropping.put_back(pixels, part + 100, (-2, -1, 6, 4)), pixels + 100)


@pytest.mark.parametrize("side", ["left", "top", "right", "bottom"])
def test_what_is_outpainted_begins_as_the_mirrored_picture(side: str) -> None:
    around = tuple(5 if name == side else 0 for name in ("left", "top", "right", "bottom"))
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    large, new = outpainting.enlarged(pixels, around), outpainting.new_part(4, 6, around)
    assert large.shape == new.shape
    np.testing.assert_array_equal(large[new == 0].reshape(4, 6), pixels)
    assert new.sum() == 5 * (6 if side in ("top", "bottom") else 4)
