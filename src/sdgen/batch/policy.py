"""``Policy``: how a run goes about its tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sdgen.batch.tasks import Task
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.pipeline.engine import Engine
    from sdgen.pipeline.results import Progress
    from sdgen.pipeline.watching import View, Watch


@dataclasses.dataclass(frozen=True)
class Policy:
    """How a run goes about its tasks.

    Attributes:
        batch_size: images drawn at once, at most; None lets ``choose`` decide, or else the pipeline.
        choose: for a pipeline and a request of its kind, how many images to draw at once.
        learned: told how many images at once were too many.
        fitted: draw a batch by the program for its number of images, rounded up to a power of two, and not by
            the one for as many as are drawn at once: a request that is alone is not held up by what fills up
            its batch, and there are more programs.
        company: seconds that a request waits, from when it came, for others to share its batch, where more
            may come; 0 draws what there is at once.
        in_order: draw tasks in their order.
        jit: compile with XLA, always, so that an image does not depend on how many others there are; False
            compiles where it pays.
        unforeseen: images that may fail in a row for reasons that nobody foresaw, before the run ends.
        fail_fast: begin nothing new after a failure.
        endless: no error ends the run: each fails the tasks that it is about. For a server.
        watch: what of the images is to be seen while they are drawn; None for nothing.
        watches: says that of tasks that are drawn together, in place of ``watch``.
        look: given what there is to be seen of tasks that are drawn together.
        told: of tasks that are drawn together, how far they are.
    """

    batch_size: int | None = None
    choose: Callable[[Engine, Request], int] | None = None
    learned: Callable[[Engine, Request, int], None] | None = None
    fitted: bool = False
    company: float = 0.0
    in_order: bool = False
    jit: bool = True
    unforeseen: int = 3
    fail_fast: bool = False
    endless: bool = False
    watch: Watch | None = None
    watches: Callable[[Engine, Sequence[Task]], Watch | None] | None = None
    look: Callable[[Sequence[Task], View], None] | None = None
    told: Callable[[Sequence[Task], Progress], None] | None = None

    def watching(self, pipeline: Engine, tasks: Sequence[Task]) -> Watch | None:
        """What is to be seen of tasks that are drawn together."""
        return self.watch if self.watches is None else self.watches(pipeline, tasks)

    def program_size(self, images: int, most: int) -> int:
        """The size of the program that draws so many images, where at most ``most`` are drawn at once."""
        if not self.fitted:
            return max(images, most)
        return max(images, min(most, 1 << (images - 1).bit_length()))

    def show(self, tasks: Sequence[Task], progress: Progress) -> None:
        """Tell how far a batch is, and have it looked at where there is something to be seen."""
        if self.told is not None:
            self.told(tasks, progress)
        if progress.view is not None and self.look is not None:
            self.look(tasks, progress.view)
