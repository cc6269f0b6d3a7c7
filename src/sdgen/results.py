"""What a pipeline draws from and what it gives: ``Job``, ``Progress``, ``Denoised``, ``Image``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sdgen.errors import ImageError
from sdgen.request import Request

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""Of one image: uint8 (height, width, 3)."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a batch is: ``step`` of ``steps`` done for ``images`` images at once."""

    step: int
    steps: int
    images: int


@dataclasses.dataclass(frozen=True, eq=False)
class Image:
    """One image, or the reason why there is none.

    Attributes:
        request: what was asked for, every default filled in.
        pixels: uint8 (height, width, 3), or None where ``error`` is set.
        seconds: from the start of its batch to its pixels, divided among the batch.
        error: why there are no pixels.
        warnings: what the user should know, a sentence each.
        details: how it was made: model, backend, device, dtype, batch size, timings.
    """

    request: Request
    pixels: Pixels | None
    seconds: float
    error: ImageError | None = None
    warnings: tuple[str, ...] = ()
    details: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A request that is ready to be drawn.

    Attributes:
        request: every default filled in.
        shape: jobs of equal shape can share a batch.
    """

    request: Request
    shape: tuple[Any, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Denoised:
    """A batch that is drawn but for its decoder.

    Attributes:
        images: decodes them, in the order of the batch's jobs. Another thread may do so while this one
            denoises the next batch.
    """

    images: Callable[[], Iterator[Image]]
