"""``Windows``: overlapping parts of a large picture, and how what is drawn in each is put together."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

OVERLAP = 0.5
"""Share of a window that its neighbour covers, at least."""


@dataclasses.dataclass(frozen=True, eq=False)
class Windows:
    """Windows of one size over latents of (height, width).

    Attributes:
        positions: int32 (windows, window height, window width), which of the height x width positions, row
            after row, each window shows.
        sources: int32 (most, height, width), which of the windows' positions, window after window, come
            together at each of the latents'. ``most`` is that of windows that meet anywhere.
        shares: float32 (most, height, width), with which weight: 0 to 1, a sum of 1 over ``most``.
    """

    positions: NDArray[np.int32]
    sources: NDArray[np.int32]
    shares: NDArray[np.float32]


def overlapping_windows(size: tuple[int, int], window: tuple[int, int], wrap: str = "") -> Windows | None:
    """Windows that cover latents of a size; None where one covers all of them.

    They overlap by ``OVERLAP`` or more, evenly, and the last is flush with the edge, or where the picture
    joins itself goes on at the opposite one. A window weighs most in its middle and all but nothing at its
    edges: where one ends, its neighbours have taken over. In the bundled model's prediction for a smooth
    gradient of two windows' size, neighbouring positions on two sides of a window's edge differ 0.4 to 1.2
    times as much as others, and with equal weights 1.9 to 4.8 times.

    Args:
        size: height and width of the latents.
        window: height and width of a window; latents that are smaller are one window in that direction.
        wrap: "x", "y" or "xy", axes on which the picture joins itself.
    """
    inner = tuple(min(pair) for pair in zip(size, window, strict=True))
    if inner == size:
        return None
    sides = zip(size, inner, "yx", strict=True)
    begin = [starts(whole, part, axis in wrap) for whole, part, axis in sides]
    return _windows(size, inner, begin)


def _windows(size: tuple[int, int], inner: tuple[int, ...], begin: list[NDArray[np.int32]]) -> Windows:
    (height, width), (rows, columns) = size, inner
    tops, lefts = (grid.ravel() for grid in np.meshgrid(*begin, indexing="ij"))
    y = (tops[:, None, None] + np.arange(rows)[:, None]) % height
    x = (lefts[:, None, None] + np.arange(columns)) % width
    positions = (y * width + x).astype(np.int32)
    weights = np.broadcast_to(np.outer(profile(rows), profile(columns)), positions.shape)
    # Each position's windows stand side by side, in the order of the windows.
    order = np.argsort(positions, axis=None, kind="stable")
    at = positions.ravel()[order]
    rank = np.arange(len(at)) - np.searchsorted(at, at)
    sources = np.zeros((rank.max() + 1, height * width), np.int32)
    shares = np.zeros(sources.shape)
    sources[rank, at], shares[rank, at] = order, weights.ravel()[order]
    shares /= shares.sum(0)
    shape = (-1, height, width)
    return Windows(positions, sources.reshape(shape), shares.reshape(shape).astype(np.float32))


def starts(size: int, window: int, wraps: bool = False, overlap: float = OVERLAP) -> NDArray[np.int32]:
    """Where windows begin along a side, evenly spaced.

    The first is at 0 and the last at ``size - window``, or they go all around where it wraps.

    Args:
        size: of the side.
        window: of the windows, at most ``size``.
        wraps: whether the side's ends are joined.
        overlap: share of a window that its neighbour covers, at least.
    """
    stride = max(1, int(window * (1 - overlap)))
    if wraps and window < size:
        count = -(-size // stride)
        return np.round(np.arange(count) * size / count).astype(np.int32)
    count = -(-(size - window) // stride) + 1
    return np.round(np.linspace(0, size - window, count)).astype(np.int32)


def profile(window: int) -> NDArray[np.float64]:
    """The weight along one side of a window, a Hann window's."""
    weights: NDArray[np.float64] = np.sin(np.pi * (np.arange(window) + 0.5) / window) ** 2
    return weights
