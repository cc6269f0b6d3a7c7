"""Which part of a picture is drawn, where only a mask's surroundings are: its box, taken out and put back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom, pixels. It may lie partly beyond the picture, which is mirrored there."""


def box_of_mask(mask: Array, padding: int, width: int, height: int) -> Box:
    """The part of a picture to draw at a size, so that a mask and its surroundings are in it.

    As diffusers' VaeImageProcessor.get_crop_region and AUTOMATIC1111 have it: the smallest box around the
    mask, with padding, grown on both sides to the proportions of the size and moved into the picture. Where
    the picture is too narrow for them, the box goes beyond it on both sides, so that nothing is stretched.

    Args:
        mask: float32 (picture's height, width), some of it above 0.
        padding: pixels around the mask.
        width, height: of what is drawn.
    """
    high, wide = mask.shape
    spans = []
    for axis, side in ((1, wide), (0, high)):
        found = np.flatnonzero(mask.any(axis=1 - axis))
        spans.append((max(0, int(found[0]) - padding), min(side, int(found[-1]) + 1 + padding)))
    across, down = (last - first for first, last in spans)
    across, down = (
        max(across, math.ceil(down * width / height)),
        max(down, math.ceil(across * height / width)),
    )
    (left, right), (top, bottom) = _grown(spans[0], across, wide), _grown(spans[1], down, high)
    return left, top, right, bottom


def _grown(span: tuple[int, int], length: int, side: int) -> tuple[int, int]:
    """A span at its place made as long as that, within 0 to ``side`` as far as it can be."""
    first = (span[0] + span[1] - length) // 2
    first = (side - length) // 2 if length > side else min(max(first, 0), side - length)
    return first, first + length


def taken_out(pixels: Array, box: Box) -> Array:
    """The part of a picture in a box, (height, width, ...), mirrored beyond the picture's edges."""
    left, top, right, bottom = box
    rows = _mirrored(np.arange(top, bottom), pixels.shape[0])
    columns = _mirrored(np.arange(left, right), pixels.shape[1])
    return pixels[rows][:, columns]


def _mirrored(places: Array, side: int) -> Array:
    """Places along a side as places within it, as NumPy's "symmetric" padding has them."""
    turned = places % (2 * side)
    return np.where(turned < side, turned, 2 * side - 1 - turned)


def put_back(pixels: Array, part: Array, box: Box) -> Array:
    """The picture with a box's pixels in their place; what lies beyond its edges is left out."""
    left, top, right, bottom = box
    height, width = pixels.shape[:2]
    result: Array = pixels.copy()
    inner = part[max(0, -top) : height - top, max(0, -left) : width - left]
    result[max(0, top) : bottom, max(0, left) : right] = inner
    return result
