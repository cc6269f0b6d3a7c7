"""From tasks to stored images: packing, resuming, retrying, and going on where one image fails.

Nothing is printed here: ``Renderer.run`` yields what happens.
"""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sdgen.batch.model_run import ModelRun
from sdgen.batch.outcomes import FAILED, KEPT, Note, Outcome, Planned
from sdgen.batch.stores import Store
from sdgen.batch.tasks import Feed, Rejected
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.pipeline.engine import Engine
    from sdgen.pipeline.results import Progress


@dataclasses.dataclass(frozen=True)
class Policy:
    """How a run goes about its tasks.

    Attributes:
        batch_size: images drawn at once, at most; None lets ``choose`` decide, or else the pipeline.
        choose: for a pipeline and a request of its kind, how many images to draw at once.
        learned: told how many images at once were too many.
        in_order: draw tasks in their order.
        jit: compile with XLA, always, so that an image does not depend on how many others there are; False
            compiles where it pays.
        unforeseen: images that may fail in a row for reasons that nobody foresaw, before the run ends.
        fail_fast: begin nothing new after a failure.
    """

    batch_size: int | None = None
    choose: Callable[[Engine, Request], int] | None = None
    learned: Callable[[Engine, Request, int], None] | None = None
    in_order: bool = False
    jit: bool = True
    unforeseen: int = 3
    fail_fast: bool = False


class Renderer:
    """Draws tasks.

    Args:
        load: gives the pipeline of a model's name.
        store: where images go.
        policy: how.
        stopping: becomes true when nothing new is to be begun.
    """

    def __init__(
        self,
        load: Callable[[str], Engine],
        store: Store,
        policy: Policy,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._load, self._store, self._policy = load, store, policy
        self._stop_asked, self._failed = stopping, False

    def run(self, feed: Feed) -> Iterator[Progress | Outcome | Rejected | Planned | Note]:
        """Draw what ``feed`` has, one model after the other, and yield what happens.

        The models may come in any order. Of a stream, what has come for the model that is loaded is drawn
        first, within bounds (``Feed.head``). Models do not pile up in memory; TensorFlow keeps the last one's
        weights until the next is in use.

        Tasks whose image is there are not drawn. A batch that is too large for the memory is halved; an
        image that is unusable in a small dtype is drawn in float32. Stopping keeps what is drawn.

        Raises:
            SdgenError: where no other task would fare better: a model that cannot be loaded, a full disk.
        """
        while not self._stopping() and (item := feed.head(wait=True)) is not None:
            if isinstance(item, Rejected):
                feed.take()
                yield item
                continue
            if (there := self._all_there(feed, item.request.model)) is not None:
                for outcome in there:
                    feed.take()
                    yield outcome
                continue
            run = ModelRun(
                self._load(item.request.model or ""),
                item.request.model,
                feed,
                self._store,
                self._policy,
                self._stopping,
            )
            try:
                for event in run.events():
                    self._failed |= isinstance(event, Outcome) and event.status == FAILED
                    yield event
            finally:
                run.close()
                del run
                gc.collect()  # Keras' objects refer to each other, and the next model needs the memory.

    def _all_there(self, feed: Feed, model: str | None) -> list[Outcome] | None:
        """The outcomes of all of a model's tasks, if none is left to be drawn: it need not be loaded."""
        if feed.tasks is None or self._store.needs_model:
            return None
        outcomes = []
        for task in feed.tasks:
            if task.request.model == model:
                saved = self._store.find(task, task.request)
                if saved is None:
                    return None
                outcomes.append(Outcome(task, task.request, KEPT, saved))
        return outcomes

    def _stopping(self) -> bool:
        return self._stop_asked() or (self._policy.fail_fast and self._failed)
