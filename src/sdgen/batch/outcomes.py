"""What happens while a run draws its tasks, beside ``sdgen.Progress``."""

from __future__ import annotations

import dataclasses
import pickle  # nosec B403 # Of errors of this process alone.
from typing import TYPE_CHECKING, Any

from sdgen.batch.tasks import Task
from sdgen.errors import SdgenError
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.images.image_and_sidecar import Saved

DRAWN, KEPT, FAILED, CANCELLED = "drawn", "kept", "failed", "cancelled"
"""What can become of a task; kept is an image that was there already."""


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a task.

    Attributes:
        task: what was asked for.
        request: with what the model filled in.
        status: ``DRAWN``, ``KEPT``, ``FAILED`` or ``CANCELLED``.
        saved: where the image is.
        seconds: spent on it.
        error: why there is no image, if it is not cancelled.
        warnings: what the user should know, a sentence each.
    """

    task: Task
    request: Request
    status: str
    saved: Saved | None = None
    seconds: float = 0.0
    error: Exception | None = None
    warnings: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        """The state that another process gets; an error that cannot be pickled is in it as its text."""
        return {**vars(self), "error": _sendable(self.error)}


@dataclasses.dataclass(frozen=True)
class Planned:
    """A model is loaded and what it has to draw is known: ``steps`` in all, None for a stream."""

    steps: int | None


@dataclasses.dataclass(frozen=True)
class Note:
    """Something about the run that the user should know."""

    text: str


def steps_left_out(request: Request) -> str | None:
    """How many steps are run where a strength leaves some out: "50 steps x 0.6 = 30".

    The second pass of ``hires`` follows: ", then 50 x 0.5 = 25 at 1024x1024".
    """
    first, second = request.first_steps_run, request.hires_steps_run
    said = f"{request.steps} steps"
    if request.strength is not None and first != request.steps:
        said += f" x {request.strength:g} = {first}"
    elif not second:
        return None
    if second:
        steps = request.hires_steps or request.steps
        said += f", then {steps} x {request.hires_strength:g} = {second} at {request.hires}"
    return said


def _sendable(error: Exception | None) -> Exception | None:
    """An error as another process can read it; one with arguments of its own may come out as no error."""
    try:
        pickle.loads(pickle.dumps(error))  # nosec B301 # its own
    except Exception:
        return SdgenError(f"{type(error).__name__}: {error}")
    return error
