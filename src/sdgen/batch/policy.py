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
        company: seconds that a request waits, from when it came, for others to share its batch, where more
            may come; 0 draws what there is at once.
        in_order: draw tasks in their order.
        jit: compile with XLA, always, so that an image does not depend on how many others there are; False
            compiles where it pays.
        unforeseen: images that may fail in a row for reasons that nobody foresaw, before the run ends.
        fail_fast: begin nothing new after a failure.
        watch: what of the images is to be seen while they are drawn; None for nothing.
        look: given what there is to be seen of tasks that are drawn together.
    """

    batch_size: int | None = None
    choose: Callable[[Engine, Request], int] | None = None
    learned: Callable[[Engine, Request, int], None] | None = None
    company: float = 0.0
    in_order: bool = False
    jit: bool = True
    unforeseen: int = 3
    fail_fast: bool = False
    watch: Watch | None = None
    look: Callable[[Sequence[Task], View], None] | None = None

    def show(self, tasks: Sequence[Task], progress: Progress) -> None:
        """Have ``look`` see what a batch has come to, where there is something to be seen."""
        if progress.view is not None and self.look is not None:
            self.look(tasks, progress.view)
