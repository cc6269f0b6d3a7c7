"""The pairs of pictures that make_metrics.py and the tests measure. NumPy alone."""

from __future__ import annotations

import numpy as np
from golden import inputs

CASES = (
    (11, 11, 10.0),
    (11, 300, 10.0),
    (64, 48, 1.0),
    (64, 48, 40.0),
    (120, 400, 10.0),
    (41, 1200, 200.0),
)
"""Height, width and the deviation of noise, of 255 levels."""


def pictures(case: tuple[int, int, float]) -> tuple[np.ndarray, np.ndarray]:
    """A smooth picture and the same with noise, uint8 (height, width, 3)."""
    height, width, deviation = case
    smooth = (inputs.picture(height, width) + 1) * 127.5
    noisy = smooth + deviation * inputs.normal(3, height, width, 3)
    return smooth.round().astype(np.uint8), noisy.clip(0, 255).round().astype(np.uint8)
