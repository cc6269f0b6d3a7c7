"""Masks: reading, sizes, soft edges, latents; and pasting by them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sdgen.errors import InputError
from sdgen.pipeline.editing import masks
from sdgen.pipeline.editing.pasting import pasted


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
