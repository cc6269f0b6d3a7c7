"""Colours that drifted in what was drawn, brought back by what is known of the picture."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Pixels = np.ndarray[Any, np.dtype[Any]]

STIFFNESS = 1000.0
"""Levels squared by which a gain is held to 1: as if known pixels had that variance more, without drift."""


def matched(drawn: Pixels, picture: Pixels, known: Array) -> Pixels:
    """What was drawn with its colours as the picture's where that is known.

    Each channel is scaled and shifted by the least squares between the two over the known pixels, of which
    each has its partner, with the scale held near 1: surroundings of one colour say nothing about others.
    With five kinds of drift, on pictures of the bundled model and on noise of the spectrum of photographs, it
    left less error than matching histograms (as InvokeAI's ColorCorrect does) or means and deviations, which
    take surroundings and content for the same. It mends what came lighter, darker or stronger, and makes what
    came greyer worse.

    Args:
        drawn: uint8 (height, width, 3).
        picture: of the same shape.
        known: bool (height, width), where the picture is not repainted.
    """
    if not known.any():
        return drawn
    result = np.empty_like(drawn)
    for channel in range(drawn.shape[2]):
        of, to = (each[..., channel][known].astype(np.float64) for each in (drawn, picture))
        covariance = np.mean((of - of.mean()) * (to - to.mean()))
        gain = (covariance + STIFFNESS) / (of.var() + STIFFNESS)
        levels = np.arange(256)
        table = np.clip(np.rint((levels - of.mean()) * gain + to.mean()), 0, 255).astype(np.uint8)
        result[..., channel] = table[drawn[..., channel]]
    return result
