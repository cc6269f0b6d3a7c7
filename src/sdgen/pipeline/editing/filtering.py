"""A picture enlarged by a filter, with its transparency."""

from __future__ import annotations

from typing import Any

import numpy as np

from sdgen.images.image import Pixels
from sdgen.pipeline.editing.resizing import resized

Plane = np.ndarray[Any, np.dtype[np.float32]]

_BAND_ROWS = 256
"""Rows that are divided at once: a large picture's numbers would take several times its memory."""


def enlarged(pixels: Pixels, width: int, height: int, method: str) -> Pixels:
    """A picture in another size, each channel filtered by itself.

    A transparent picture's colours are multiplied by alpha before, and divided by it after, as numbers that
    are neither rounded nor cut off: where all that is seen is of one colour, so is the result. (Pillow's own
    way, in bytes, lightens edges where a filter overshoots, since it cuts off alpha there.)

    Args:
        pixels: uint8 (rows, columns, 3), or 4 with alpha, which is not multiplied in.
        width, height: of the result.
        method: as for ``resized``.

    Returns:
        uint8 (height, width, the same channels).
    """
    if pixels.shape[2] == 3:
        return resized(pixels, width, height, "stretch", method)
    result = np.empty((height, width, 4), np.uint8)
    result[..., 3] = resized(np.ascontiguousarray(pixels[..., 3]), width, height, "stretch", method)
    opacity = pixels[..., 3].astype(np.float32)
    opacities = _filtered(opacity, width, height, method)
    for channel in range(3):
        plane = _filtered(pixels[..., channel] * opacity, width, height, method)
        for top in range(0, height, _BAND_ROWS):
            band = slice(top, top + _BAND_ROWS)
            seen = result[band, :, 3] > 0
            colour = np.divide(plane[band], opacities[band], out=np.zeros_like(plane[band]), where=seen)
            result[band, :, channel] = np.rint(colour.clip(0, 255)).astype(np.uint8)
    return result


def _filtered(plane: Plane, width: int, height: int, method: str) -> Plane:
    from PIL import Image

    large = Image.fromarray(plane).resize((width, height), Image.Resampling[method.upper()])
    return np.asarray(large, np.float32)
