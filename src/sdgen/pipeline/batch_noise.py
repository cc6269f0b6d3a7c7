"""The noise that samplers add to a batch, drawn in the reference's order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen.diffusion.interpolation import slerp
from sdgen.diffusion.noise import ImageNoise
from sdgen.diffusion.table import SamplerTable
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.pipeline.sampling_loop import StepNoise

Array = np.ndarray[Any, np.dtype[np.float32]]


def image_noise(request: Request) -> ImageNoise:
    """The stream of a request's random numbers."""
    return ImageNoise(request.base_seed, request.rng)


def first_noise(request: Request, noise: ImageNoise, shape: tuple[int, int, int]) -> Array:
    """The noise that a picture begins with, float32 (height, width, channels): the next draw of its stream.

    A variation's is turned towards the first of its own seed. As AUTOMATIC1111 has it (modules/rng.py), all
    later draws are the stream's: at a share of 0 the picture is that of ``variation_of``.
    """
    base = noise.normal(*shape)
    if request.variation_of is None:
        return base
    assert request.variation is not None
    return slerp(base, ImageNoise(request.seed, request.rng).normal(*shape), request.variation)


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
