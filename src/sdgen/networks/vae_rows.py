"""The VAE's decoder by rows of the picture: the same numbers in a fraction of the memory.

Decoded in tiles that are blended, each tile has group norms of its own, which gives another picture
(docs/performance.md). Here the statistics of every norm are those of the whole feature map. What lies
between two norms, an activation and a 3x3 convolution, needs one row above and below, and is computed a few
rows at a time. Two feature maps are all that is held, and the small one while it is enlarged: no normalised,
padded or enlarged copy of them, nor a convolution's workspace for the whole picture. The enlarged map, which
is the largest, is computed twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from sdgen import backend
from sdgen.backend import ops
from sdgen.networks.convolution import Conv3x3
from sdgen.networks.layers import GroupNorm, Tensor, Weights, silu, upsample_nearest
from sdgen.networks.resnet import ResnetBlock, Upsample
from sdgen.networks.vae import Decoder

MOST_VALUES = 1 << 25
"""Of a feature map's rows that are computed at once: 64 rows of 2048 positions with 256 channels."""


@dataclasses.dataclass(frozen=True)
class _Rows:
    """A feature map (1, height, width, channels) that is read a few rows at a time.

    Attributes:
        read: (start, count) -> rows ``start - 1`` to ``start + count`` inclusive; what is outside the map is
            anything.
        multiple: of ``start`` and ``count``.
    """

    height: int
    width: int
    channels: int
    read: Callable[[Tensor, int], Tensor]
    multiple: int = 1

    def count(self, channels: int) -> int:
        """How many rows to compute at once where the result has so many channels."""
        most = max(1, MOST_VALUES // (self.width * max(self.channels, channels)))
        fitting = range(self.multiple, min(most, self.height) + 1, self.multiple)
        return max((rows for rows in fitting if self.height % rows == 0), default=self.multiple)


def decode_by_rows(decoder: Decoder, weights: Weights, latents: Tensor) -> Tensor:
    """What ``decoder(weights, latents)`` computes, for one picture: (1, height, width, latent_channels)."""
    x = decoder.enter(weights, latents)
    enlarge: Upsample | None = None
    for block in decoder.blocks:
        if isinstance(block, Upsample):
            enlarge = block
        elif isinstance(block, ResnetBlock):
            x = _resnet(block, weights, x, enlarge)
            enlarge = None
        else:
            x = block(weights, x)  # type: ignore[operator]
    rows = _stored(x)
    norm = decoder.norm_out.scale_and_shift(weights, GroupNorm.moments(x))

    def leave(start: Tensor, count: int) -> Tensor:
        return _convolved(rows, start, count, norm, decoder.conv_out, weights)

    pixels = _filled(rows, leave, _room(x, rows, decoder.conv_out.outputs))
    return ops.cast(pixels, "float32")


def _resnet(block: ResnetBlock, weights: Weights, x: Tensor, enlarge: Upsample | None) -> Tensor:
    """As ``block(weights, enlarge(weights, x))``."""
    rows = _stored(x) if enlarge is None else _enlarged(enlarge, weights, x)
    norm1 = block.norm1.scale_and_shift(weights, GroupNorm.moments(x) if enlarge is None else _moments(rows))

    def first(start: Tensor, count: int) -> Tensor:
        return _convolved(rows, start, count, norm1, block.conv1, weights)

    def shortcut(start: Tensor, count: int) -> Tensor:
        inner = rows.read(start, count)[:, 1:-1]
        return inner if block.conv_shortcut is None else block.conv_shortcut(weights, inner)

    room = _room(x, rows, block.outputs)
    if enlarge is None and block.conv_shortcut is None:
        h, added = _filled(rows, first, room), x
    else:
        h, added = _filled(rows, lambda *at: (first(*at), shortcut(*at)), (room, room))
    norm2 = block.norm2.scale_and_shift(weights, GroupNorm.moments(h))
    middle = _stored(h)

    def second(start: Tensor, count: int) -> Tensor:
        return _convolved(middle, start, count, norm2, block.conv2, weights)

    return _filled(middle, second, added, add=True)


def _stored(x: Tensor) -> _Rows:
    """The rows of a map that is in memory."""

    def read(start: Tensor, count: int) -> Tensor:
        above, below = ops.maximum(start - 1, 0), ops.minimum(start + count, x.shape[1] - 1)
        parts = [_slice(x, above, 1), _slice(x, start, count), _slice(x, below, 1)]
        return ops.concatenate(parts, axis=1)

    _, height, width, channels = x.shape
    return _Rows(height, width, channels, read)


def _enlarged(block: Upsample, weights: Weights, x: Tensor) -> _Rows:
    """The rows of ``block(weights, x)``, computed whenever they are read."""
    source = _stored(x)

    def read(start: Tensor, count: int) -> Tensor:
        rows = source.read(start // 2, count // 2)
        rows = _without_outside(rows, start // 2, source.height)
        return block.conv(weights, upsample_nearest(rows))[:, 1:-1]

    return _Rows(2 * source.height, 2 * source.width, block.conv.outputs, read, multiple=2)


def _moments(rows: _Rows) -> Tensor:
    """``GroupNorm.moments`` of the map."""
    count = rows.count(rows.channels)
    pieces = rows.height // count

    def add(i: Tensor, total: Tensor) -> Tensor:
        return total + GroupNorm.moments(rows.read(i * count, count)[:, 1:-1]) / pieces

    return backend.fori_loop(0, pieces, add, ops.zeros((2, 1, rows.channels)))


def _convolved(
    rows: _Rows,
    start: Tensor,
    count: int,
    norm: tuple[Tensor, Tensor],
    convolution: Conv3x3,
    weights: Weights,
) -> Tensor:
    """``count`` rows from ``start`` of conv(silu(norm(rows))); ``norm`` is a scale and a shift."""
    active = silu(GroupNorm.normalise(rows.read(start, count), *norm))
    return convolution(weights, _without_outside(active, start, rows.height))[:, 1:-1]


def _filled(rows: _Rows, compute: Callable[[Tensor, int], Any], room: Any, add: bool = False) -> Any:
    """``room``, one map or several, with all rows replaced by what ``compute(start, count)`` gives.

    With ``add`` it is added to them. ``compute`` must not read ``room``: XLA would keep a copy of it.
    """
    several = isinstance(room, tuple)
    maps = room if several else (room,)
    count = rows.count(max(x.shape[3] for x in maps))

    def fill(i: Tensor, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        start = i * count
        pieces = compute(start, count)
        pieces = pieces if several else (pieces,)
        if add:
            pieces = tuple(piece + _slice(x, start, count) for x, piece in zip(maps, pieces, strict=True))
        return tuple(
            ops.slice_update(x, (0, start, 0, 0), piece) for x, piece in zip(maps, pieces, strict=True)
        )

    maps = backend.fori_loop(0, rows.height // count, fill, maps)
    return maps if several else maps[0]


def _room(x: Tensor, rows: _Rows, channels: int) -> Tensor:
    """Memory for a map of the size of ``rows``.

    It is filled with a value of x and not with zeros: XLA would set aside all such constants at the start.
    """
    return ops.broadcast_to(x[:, :1, :1, :1], (1, rows.height, rows.width, channels))


def _slice(x: Tensor, start: Tensor, count: int) -> Tensor:
    return ops.slice(x, (0, start, 0, 0), (1, count, *x.shape[2:]))


def _without_outside(rows: Tensor, start: Tensor, height: int) -> Tensor:
    """Rows from ``start - 1`` on, with zeros, as a convolution is padded, for what is outside the map."""
    number = ops.arange(rows.shape[1], dtype="int32") + start - 1
    inside = ops.logical_and(number >= 0, number < height)[None, :, None, None]
    return ops.where(inside, rows, ops.zeros((), rows.dtype))
