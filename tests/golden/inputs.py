"""Inputs that the golden scripts and the tests both make, so that only outputs are stored. NumPy alone."""

from __future__ import annotations

import numpy as np

PROMPTS = ("a red heart", "", "a flat vector of a blue fish, 3d render")
TIMESTEPS = (981.0, 412.5)


def normal(seed: int, *shape: int) -> np.ndarray:
    """Standard normal float32 of a shape, the same on every machine."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def picture(height: int, width: int) -> np.ndarray:
    """A smooth colourful picture, float32 (height, width, 3), -1 to 1."""
    y, x = np.mgrid[0:height, 0:width] / 32
    waves = [np.sin(x + channel) * np.cos(y * (channel + 1) / 2) for channel in range(3)]
    return np.stack(waves, -1).astype(np.float32)


def thinned(values: np.ndarray, most: int = 6000) -> np.ndarray:
    """Evenly spaced elements of an array, at most ``most``: what is stored of large outputs."""
    return values.reshape(-1)[:: max(1, -(-values.size // most))]
