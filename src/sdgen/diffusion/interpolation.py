"""What lies between two noises, or between two of anything else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_PARALLEL = 0.9995
"""Cosine of an angle so small that its sine is no divisor."""


def slerp(low: NDArray[np.float32], high: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Spherical interpolation (Shoemake 1985) from ``low`` at share 0 to ``high`` at 1.

    As AUTOMATIC1111's (modules/rng.py), each column of each channel turns by itself: what is normally
    distributed with variance 1 stays so, where a mean of two would have half of it.

    Args:
        low, high: float32 (height, width, channels).
        share: 0 to 1.
    """
    if share in (0.0, 1.0):
        return high if share else low
    a, b = low.astype(np.float64), high.astype(np.float64)
    lengths = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    cosine = np.clip((a * b).sum(0) / np.maximum(lengths, np.finfo(np.float64).tiny), -1.0, 1.0)
    if cosine.mean() > _PARALLEL:
        return lerp(low, high, share)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    straight = sine < 1e-6
    sine = np.where(straight, 1.0, sine)
    weights = [np.where(straight, part, np.sin(part * angle) / sine) for part in (1.0 - share, share)]
    return np.asarray(weights[0] * a + weights[1] * b, np.float32)


def lerp(low: NDArray[Any], high: NDArray[Any], share: float) -> NDArray[Any]:
    """(1 - share) low + share high, float32."""
    return np.asarray((1.0 - share) * low + share * high, np.float32)
