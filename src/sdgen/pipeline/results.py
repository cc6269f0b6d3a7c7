"""What an engine draws from, and what it gives: ``Job``, ``Progress``, ``Denoised``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sdgen.pipeline.watching import View
from sdgen.request import Request


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a batch is: ``step`` of ``steps`` done for ``images`` images at once.

    ``view`` is what its images look like by now, for whoever asked to watch; it is to be looked at before the
    next event is asked for.
    """

    step: int
    steps: int
    images: int
    view: View | None = dataclasses.field(default=None, compare=False)


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
    """A batch that is drawn but for its decoder: plain data, which another process may decode.

    Attributes:
        jobs: of the batch.
        latents: float32 (batch, height, width, channels); None for an engine that decodes at once.
        seconds: spent on each image so far.
        details: how the batch was made, as in ``Image.details``.
        pixels: uint8 (batch, height, width, 3), where the engine decodes at once.
    """

    jobs: tuple[Job, ...]
    latents: Any
    seconds: float
    details: Mapping[str, Any]
    pixels: Any = None
