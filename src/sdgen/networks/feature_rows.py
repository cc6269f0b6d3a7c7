"""Feature maps that are computed a few rows at a time: a network in a fraction of the memory.

What lies between two group norms, an activation and a 3x3 convolution, needs one row above and below. The
statistics of every norm are those of the whole map, so that the numbers are the network's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from sdgen import backend
from sdgen.backend import ops
from sdgen.networks.convolution import Conv3x3
from sdgen.networks.layers import GroupNorm, Tensor, Weights, silu

MOST_VALUES = 1 << 25
"""Of a feature map's rows that are computed at once: 64 rows of 2048 positions with 256 channels."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """A feature map (1, height, width, channels) that is read a few rows at a time.

    Attributes:
        source: what the rows come from, in the map's dtype.
        read: (start, count) -> rows ``start - 1`` to ``start + count`` inclusive; outside the map they are
            for ``as_padded`` to put right.
        multiple: of ``start`` and ``count``.
        stored: whether ``source`` is the map, which is then in memory; else rows are computed when read.
    """

    height: int
    width: int
    channels: int
    source: Tensor
    read: Callable[[Tensor, int], Tensor]
    multiple: int = 1
    stored: bool = False

    def count(self, channels: int) -> int:
        """How many rows to compute at once where the result has so many channels."""
        most = max(1, MOST_VALUES // (self.width * max(self.channels, channels)))
        fitting = range(self.multiple, min(most, self.height) + 1, self.multiple)
        return max((rows for rows in fitting if self.height % rows == 0), default=self.multiple)

    def moments(self) -> Tensor:
        """``GroupNorm.moments`` of the map."""
        if self.stored:
            return GroupNorm.moments(self.source)
        count = self.count(self.channels)
        pieces = self.height // count

        def add(i: Tensor, total: Tensor) -> Tensor:
            return total + GroupNorm.moments(self.read(i * count, count)[:, 1:-1]) / pieces

        return backend.fori_loop(0, pieces, add, ops.zeros((2, 1, self.channels)))

    def convolved(
        self,
        start: Tensor,
        count: int,
        norm: tuple[Tensor, Tensor],
        convolution: Conv3x3,
        weights: Weights,
    ) -> Tensor:
        """``count`` rows from ``start`` of conv(silu(norm(map))); ``norm`` is a scale and a shift."""
        active = silu(GroupNorm.normalise(self.read(start, count), *norm))
        return convolution(weights, as_padded(active, start - 1, self.height, convolution))[:, 1:-1]

    def room(self, channels: int, stride: int = 1) -> Tensor:
        """Memory for a map of this size, over a stride, and so many channels.

        It is filled with a value of the source and not with zeros: XLA would set aside all such constants at
        the start.
        """
        shape = (1, self.height // stride, self.width // stride, channels)
        return ops.broadcast_to(self.source[:, :1, :1, :1], shape)

    def filled(
        self, compute: Callable[[Tensor, int], Any], room: Any, add: bool = False, stride: int = 1
    ) -> Any:
        """``room``, one map or several, with all rows replaced by what ``compute(start, count)`` gives.

        With ``add`` it is added to them. ``compute`` must not read ``room``: XLA would keep a copy of it.
        With a stride, ``start`` and ``count`` are of rows of ``room``, which has so many times fewer.
        """
        several = isinstance(room, tuple)
        maps = room if several else (room,)
        whole = dataclasses.replace(self, multiple=max(self.multiple, stride))
        count = whole.count(max(x.shape[3] for x in maps)) // stride

        def fill(i: Tensor, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            start = i * count
            pieces = compute(start, count)
            pieces = pieces if several else (pieces,)
            if add:
                pieces = tuple(
                    piece + rows_of(x, start, count) for x, piece in zip(maps, pieces, strict=True)
                )
            return tuple(
                ops.slice_update(x, (0, start, 0, 0), piece) for x, piece in zip(maps, pieces, strict=True)
            )

        maps = backend.fori_loop(0, self.height // stride // count, fill, maps)
        return maps if several else maps[0]


def stored(x: Tensor) -> Rows:
    """The rows of a map that is in memory."""
    _, height, width, channels = x.shape
    return Rows(height, width, channels, x, lambda *at: with_neighbours(x, *at), stored=True)


def with_neighbours(x: Tensor, start: Tensor, count: int, halo: int = 1) -> Tensor:
    """``count`` rows from ``start`` with ``halo`` more on either side.

    Outside the map they are those of the other end, which ``as_padded`` keeps where the map wraps.
    """
    height = x.shape[1]
    above = [ops.mod(start - 1 - i, height) for i in reversed(range(halo))]
    below = [ops.mod(start + count + i, height) for i in range(halo)]
    parts = [*(rows_of(x, row, 1) for row in above), rows_of(x, start, count)]
    return ops.concatenate([*parts, *(rows_of(x, row, 1) for row in below)], axis=1)


def rows_of(x: Tensor, start: Tensor, count: int) -> Tensor:
    """``count`` rows of a map in memory."""
    return ops.slice(x, (0, start, 0, 0), (1, count, *x.shape[2:]))


def as_padded(rows: Tensor, start: Tensor, height: int, convolution: Conv3x3) -> Tensor:
    """Rows from ``start`` on, where they are outside the map as a convolution is padded.

    That is with zeros, or where it wraps with what they are: those of the other end.
    """
    if "y" in convolution.wrap:
        return rows
    number = ops.arange(rows.shape[1], dtype="int32") + start
    inside = ops.logical_and(number >= 0, number < height)[None, :, None, None]
    return ops.where(inside, rows, ops.zeros((), rows.dtype))
