"""What fills a queue for a command: tasks known beforehand, or read as somebody writes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from sdgen.batch.model_changes import LOOKAHEAD, AnyModel, Model
from sdgen.batch.request_queue import PATIENCE, RequestQueue
from sdgen.batch.tasks import Item, Rejected, Task

_LAST_WAIT = 2.0
"""Seconds spent at most on reading the rest of a stream that is given up."""


class Feed(RequestQueue):
    """A closed queue of tasks, in which the tasks of one model stand together.

    Args:
        tasks: all of them; the models are drawn with in the order of their first tasks.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        alike: dict[str | None, list[Task]] = {}
        for task in tasks:
            alike.setdefault(task.request.model, []).append(task)
        self.tasks = [task for group in alike.values() for task in group]
        with self._changed:
            for task in self.tasks:
                self._add(task)
            self.close()


class Stream(RequestQueue):
    """A queue that a thread fills, a bounded number ahead, from when the first task is asked for.

    Args:
        items: may block.
        stopping: whether to stop waiting.
    """

    def __init__(self, items: Iterable[Task | Rejected], stopping: Callable[[], bool]) -> None:
        super().__init__()
        self.stop_waiting_when(stopping)
        self._thread = threading.Thread(target=self._read, args=(items,), daemon=True)

    def head(self, wait: bool, model: Model = AnyModel) -> Item | None:
        """As ``RequestQueue.head``; once what came before is taken, raises what reading raised."""
        if self._thread.ident is None and not self._closed:
            self._thread.start()
        return super().head(wait, model)

    def end(self) -> list[Task | Rejected]:
        """As ``RequestQueue.end``; what is still being read counts as having come, for a moment."""
        left: list[Task | Rejected] = []
        deadline = time.monotonic() + _LAST_WAIT
        with self._changed:
            while self._thread.ident is not None and not self._closed:
                left += self._waiting
                self._waiting.clear()
                self._changed.notify_all()
                patience = min(PATIENCE, deadline - time.monotonic())
                if patience <= 0 or not self._changed.wait_for(lambda: self._waiting, patience):
                    break
            return left + super().end()

    def _read(self, items: Iterable[Task | Rejected]) -> None:
        try:
            for item in items:
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or len(self._waiting) < LOOKAHEAD)
                    if self._closed:
                        return
                    self._add(item)
            self.close()
        except BaseException as error:
            self.close(error)
