"""Outpainting: a picture on a larger canvas, and what stands in the new part before it is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Pixels = np.ndarray[Any, np.dtype[Any]]
Borders = tuple[int, int, int, int]
"""Left, top, right and bottom, pixels."""


def enlarged(pixels: Pixels, borders: Borders) -> Pixels:
    """The picture with borders in which it is mirrored at its edges, again and again where they are wide.

    What is new goes on where the picture ends, and has its colours (the infill of other tools, by tiles or
    PatchMatch, has the second alone).

    Args:
        pixels: (height, width) or (height, width, channels).
        borders: what is added on each side.
    """
    left, top, right, bottom = borders
    around = [(top, bottom), (left, right), (0, 0)][: pixels.ndim]
    return np.pad(pixels, around, mode="symmetric")


def new_part(height: int, width: int, borders: Borders) -> Array:
    """The mask of what borders add to a picture of a size: float32, 1 there and 0 in the picture."""
    left, top, right, bottom = borders
    return np.pad(
        np.zeros((height, width), np.float32), [(top, bottom), (left, right)], constant_values=np.float32(1)
    )
