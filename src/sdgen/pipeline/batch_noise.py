"""The noise that samplers add to a batch, drawn in the reference's order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen.diffusion.noise import ImageNoise
from sdgen.diffusion.table import SamplerTable

if TYPE_CHECKING:
    from sdgen.pipeline.sampling_loop import StepNoise

Array = np.ndarray[Any, np.dtype[np.float32]]


def step_noise(
    tables: Sequence[SamplerTable], noises: Sequence[ImageNoise], shape: tuple[int, int, int]
) -> StepNoise | None:
    """The noise that samplers add, drawn where the reference draws it; None where no table has any.

    Its calls go on in each image's stream: they are to be made in the order of the rows.
    """
    if not any(table.noise.any() for table in tables):
        return None

    def rows(first: int, count: int) -> Array:
        z = np.zeros((count, len(tables), *shape), np.float32)
        for i, (table, noise) in enumerate(zip(tables, noises, strict=True)):
            for row in np.flatnonzero(table.draws[first : first + count]):
                z[row, i] = noise.normal(*shape)
        return z

    return rows
