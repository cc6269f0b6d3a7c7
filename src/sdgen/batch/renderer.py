"""From tasks to stored images: packing, resuming, retrying, and going on where one image fails.

Nothing is printed here: ``Renderer.run`` yields what happens.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sdgen.batch.model_run import ModelRun
from sdgen.batch.outcomes import CANCELLED, FAILED, KEPT, Note, Outcome, Planned
from sdgen.batch.policy import Policy
from sdgen.batch.request_queue import RequestQueue
from sdgen.batch.store import Store
from sdgen.batch.tasks import Rejected, Task

if TYPE_CHECKING:
    from sdgen.images.image_and_sidecar import Saved
    from sdgen.pipeline.engine import Engine
    from sdgen.pipeline.results import Progress


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

    def run(self, queue: RequestQueue) -> Iterator[Progress | Outcome | Rejected | Planned | Note]:
        """Draw what comes out of ``queue``, one model after the other, and yield what happens.

        The models may come in any order: what has come for the model that is loaded is drawn first, within
        bounds (``ModelChanges``). A model is gone from memory before the next is loaded. The run ends when
        the queue is closed and empty, or ``stopping``; until then it waits for more.

        Tasks whose image is there are not drawn. A batch that is too large for the memory is halved; an
        image that is unusable in a small dtype is drawn in float32. Stopping keeps what is drawn.

        Raises:
            SdgenError: where no other task would fare better: a model that cannot be loaded, a full disk.
        """
        queue.stop_waiting_when(self._stopping)
        while not self._stopping() and (item := queue.head(wait=True)) is not None:
            if isinstance(item, Task):
                yield from self._draw_model(queue, item.request.model)
            elif queue.take():
                yield item if isinstance(item, Rejected) else _settled(queue, item.task)

    def _draw_model(
        self, queue: RequestQueue, model: str | None
    ) -> Iterator[Progress | Outcome | Rejected | Planned | Note]:
        """Draw what there is for one model, which is loaded unless all images are there."""
        if (there := self._all_there(queue, model)) is not None:
            while isinstance(item := queue.head(False, model), Task):
                if queue.take():
                    yield _settled(queue, item, there[item.number])
            return
        try:
            engine = self._load(model or "")
        except Exception as error:
            if not self._policy.endless:
                raise
            yield from _failed(queue, model, error)
            return
        run = ModelRun(engine, model, queue, self._store, self._policy, self._stopping)
        del engine
        try:
            for event in run.events():
                self._failed |= isinstance(event, Outcome) and event.status == FAILED
                yield event
        finally:
            run.close()
            del run
            gc.collect()  # Keras' objects refer to each other, and the next model needs the memory.

    def _all_there(self, queue: RequestQueue, model: str | None) -> dict[int, Saved] | None:
        """The images of all of a model's tasks, by number, if none is left to be drawn."""
        if queue.tasks is None or self._store.needs_model:
            return None
        there = {}
        for task in queue.tasks:
            if task.request.model == model:
                saved = self._store.find(task, task.request)
                if saved is None:
                    return None
                there[task.number] = saved
        return there

    def _stopping(self) -> bool:
        return self._stop_asked() or (self._policy.fail_fast and self._failed)


def _failed(queue: RequestQueue, model: str | None, error: Exception) -> Iterator[Outcome]:
    """What has come for a model that cannot be loaded."""
    while isinstance(item := queue.head(False, model), Task):
        if queue.take():
            status = FAILED if queue.keep(item) else CANCELLED
            queue.done(item)
            yield Outcome(item, item.request, status, error=error if status == FAILED else None)


def _settled(queue: RequestQueue, task: Task, saved: Saved | None = None) -> Outcome:
    """What became of a task that no model is needed for: its image is there, or it is cancelled."""
    status = KEPT if queue.keep(task) else CANCELLED
    queue.done(task)
    return Outcome(task, task.request, status, saved if status == KEPT else None)
