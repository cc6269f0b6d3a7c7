"""Pasting what was drawn over the picture that it was drawn into."""

from __future__ import annotations

from typing import Any

import numpy as np

from sdgen.pipeline.editing.masks import ROWS

Array = np.ndarray[Any, np.dtype[Any]]
Pixels = np.ndarray[Any, np.dtype[Any]]


def pasted(picture: Pixels, drawn: Pixels, mask: Array) -> Pixels:
    """The picture with what was drawn in the place of what the mask repaints.

    Where the mask is 0 the picture's pixels come back as they were, bit for bit. The seam lies within the
    mask: from there to where the mask is a half, the picture goes over into what was drawn.

    Args:
        picture: uint8 (height, width, channels).
        drawn: of the same shape.
        mask: float32 (height, width), 0 to 1.
    """
    result: Pixels = picture.copy()
    for top in range(0, len(picture), ROWS):
        rows = slice(top, top + ROWS)
        where = mask[rows] > 0
        share = np.minimum(1, 2 * mask[rows][where])[:, None]
        mixed = share * drawn[rows][where] + (1 - share) * picture[rows][where]
        result[rows][where] = np.rint(mixed).astype(np.uint8)
    return result
