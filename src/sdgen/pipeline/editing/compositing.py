"""Transparency: the background that a picture gets, and its alpha, which the drawn picture gets back."""

from __future__ import annotations

import numpy as np

from sdgen.images.image import Pixels
from sdgen.pipeline.editing.resizing import Geometry, applied

_BAND_ROWS = 256
"""Rows that are reckoned with at once: the numbers of a large picture would take several times its memory."""


def over(pixels: Pixels, background: str) -> Pixels:
    """The picture before a background: alpha pixels + (1 - alpha) background, rounded; (height, width, 3).

    Args:
        pixels: RGBA, uint8 (height, width, 4), alpha not multiplied in.
        background: a colour, by its CSS name or as #rrggbb; its own transparency does not count.
    """
    from PIL import ImageColor

    behind = np.asarray(ImageColor.getrgb(background)[:3], np.uint32)
    result = np.empty((*pixels.shape[:2], 3), np.uint8)
    for top in range(0, len(pixels), _BAND_ROWS):
        band = pixels[top : top + _BAND_ROWS].astype(np.uint32)
        alpha = band[..., 3:]
        result[top : top + _BAND_ROWS] = (alpha * band[..., :3] + (255 - alpha) * behind + 127) // 255
    return result


def alpha_back(pixels: Pixels, alpha: Pixels, geometry: Geometry) -> Pixels:
    """A drawn picture with the alpha of the picture that it was started from, uint8 (height, width, 4).

    Args:
        pixels: as they were drawn, uint8 (height, width, 3), of the geometry's size.
        alpha: of the picture as it was given, uint8 (its height, its width).
        geometry: that brought the picture to size.
    """
    return np.dstack([pixels, applied(alpha, geometry)])
