"""How near a picture is to another: PSNR and SSIM.

SSIM is written out because nothing that is installed with sdgen has it but TensorFlow, which takes seconds to
import: scikit-image brings 200 MB (with SciPy and networkx) for this one function. Its values are the golden
ones of the tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

WINDOW = 11
"""Pixels of the side of SSIM's window; smaller pictures have no SSIM."""

_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_BAND_VALUES = 1 << 17
"""Values of a picture that are taken at once, about: a megabyte of numbers, which caches hold."""


def psnr(first: Pixels, second: Pixels) -> float:
    """Peak signal-to-noise ratio of two pictures of one shape, in dB; infinite where they are equal.

    Args:
        first, second: uint8 (height, width, 3), or 4 with transparency.
    """
    # Row by row: as numbers with fractions, large pictures take gigabytes.
    error = sum(
        int(np.square(row.astype(np.int32) - other).sum(dtype=np.int64))
        for row, other in zip(first, second, strict=True)
    )
    return math.inf if error == 0 else 10 * math.log10(255**2 * first.size / error)


def ssim(first: Pixels, second: Pixels) -> float | None:
    """Structural similarity of two pictures of one shape, at most 1; the mean over their channels.

    Wang, Bovik, Sheikh and Simoncelli 2004, "Image quality assessment: from error visibility to structural
    similarity", equation 13: a Gaussian window of 11 x 11 with a deviation of 1.5, K1 = 0.01 and K2 = 0.03,
    at every place that the window fits into the picture.

    Args:
        first, second: uint8 (height, width, channels).

    Returns:
        None where a side is below ``WINDOW``.
    """
    height, width, _ = first.shape
    if min(height, width) < WINDOW:
        return None
    total, places = 0.0, 0
    for x, y in _bands(first, second):
        similar = _similarity(x, y)
        total, places = total + float(similar.sum()), places + similar.size
    return total / places


def _bands(first: Pixels, second: Pixels) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Rows of both pictures, so that every window is within one band."""
    height, width, channels = first.shape
    rows = max(1, _BAND_VALUES // (width * channels))
    for top in range(0, height - WINDOW + 1, rows):
        band = slice(top, min(top + rows + WINDOW - 1, height))
        yield first[band].astype(np.float64), second[band].astype(np.float64)


def _similarity(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """SSIM at each place of the window, (height - 10, width - 10, channels)."""
    x_mean, y_mean = _blurred(x), _blurred(y)
    product = x_mean * y_mean
    squares = np.square(x_mean) + np.square(y_mean)
    variances: NDArray[np.float64] = _blurred(np.square(x) + np.square(y)) - squares
    covariance = _blurred(x * y) - product
    luminance = (2 * product + _C1) / (squares + _C1)
    structure: NDArray[np.float64] = (2 * covariance + _C2) / (variances + _C2)
    return luminance * structure


def _blurred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Gaussian means, (height - 10, width - 10, channels): of columns, then of rows."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    kernel = np.exp(-0.5 * np.square(offsets / _SIGMA))
    kernel /= kernel.sum()
    for axis in (0, 1):
        length = values.shape[axis] - WINDOW + 1
        moved = np.moveaxis(values, axis, 0)
        total = kernel[0] * moved[:length]
        for start, weight in enumerate(kernel[1:], 1):
            total += weight * moved[start : start + length]
        values = np.moveaxis(total, 0, axis)
    return values
