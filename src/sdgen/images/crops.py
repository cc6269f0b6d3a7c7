"""Squares of pictures: where one shows the most."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sdgen.images.metrics import Pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCKS = 8
"""Of a square's side: it is looked for in steps of its side by this."""


@dataclasses.dataclass(frozen=True)
class Square:
    """A square within a picture, in its pixels: its upper left corner and its side."""

    x: int
    y: int
    side: int

    def times(self, factor: int) -> Square:
        """The same square in the picture made so many times as wide and high."""
        return Square(self.x * factor, self.y * factor, self.side * factor)

    def of(self, pixels: Pixels) -> Pixels:
        """A copy of what a picture, (height, width, channels), has in it."""
        copied: Pixels = pixels[self.y : self.y + self.side, self.x : self.x + self.side].copy()
        return copied


def most_detailed(pixels: Pixels, side: int) -> Square:
    """The square in which a picture changes most from pixel to pixel; of equal ones that in their middle.

    Args:
        pixels: uint8 (height, width, channels).
        side: at most the lesser of height and width.
    """
    height, width, _ = pixels.shape
    block = max(1, side // _BLOCKS)
    reach = side // block
    sums = np.stack(list(_block_sums(pixels, block)))
    # Sums over rectangles from the corner (Crow 1984): those of all squares at once.
    table = np.pad(sums, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    rows, columns = (height - side) // block + 1, (width - side) // block + 1
    far = table[reach : reach + rows]
    near = table[:rows]
    totals = (
        far[:, reach : reach + columns]
        - far[:, :columns]
        - near[:, reach : reach + columns]
        + near[:, :columns]
    )
    found = np.argwhere(totals == totals.max())
    y, x = found[np.square(found - found.mean(0)).sum(1).argmin()] * block
    return Square(int(x), int(y), side)


def _block_sums(pixels: Pixels, block: int) -> Iterator[NDArray[np.int64]]:
    """How much whole blocks of ``block`` squared pixels change, a row of blocks after the other."""
    height, width, _ = pixels.shape
    across = width // block
    for top in range(0, height // block * block, block):
        # One row and one column more, for the differences at the edges of blocks.
        rows = pixels[top : top + block + 1].astype(np.int32).sum(2)
        change = np.zeros((block, width), np.int64)
        change[:, :-1] += np.abs(np.diff(rows[:block], axis=1))
        down = np.abs(np.diff(rows, axis=0))
        change[: len(down)] += down
        yield change[:, : across * block].reshape(block, across, block).sum((0, 2))
