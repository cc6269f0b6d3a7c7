"""What a run has to draw: tasks, all known beforehand or coming one by one."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from sdgen.request import Request

LOOKAHEAD = 1024
"""Tasks of a stream that are read before they are drawn, at most."""

_PATIENCE = 0.1
"""Seconds between two looks at whether to stop, while a stream has nothing."""

_LAST_WAIT = 2.0
"""Seconds spent at most on reading the rest of a stream that is given up."""


@dataclasses.dataclass(frozen=True)
class Rejected:
    """Something in the input that is no task, with a sentence that says where and why.

    ``again`` is set where it is one thing more that is wrong with the entry before.
    """

    message: str
    again: bool = False


@dataclasses.dataclass(frozen=True)
class Task:
    """One image that a run is asked for.

    Attributes:
        request: as it was asked for; what is None is the model's to decide.
        number: its place in the whole job, from 1.
        source: file and line that it comes from, or which of several prompts it is for.
    """

    request: Request
    number: int = 1
    source: str = ""

    def rejected(self, error: Exception) -> Rejected:
        """Why the task cannot be drawn."""
        return Rejected(f"{self.source}: {error}" if self.source else str(error))


class AnyModel:
    """Stands for every model where ``Feed.head`` is asked."""


class Feed:
    """Tasks in the order in which they are to be looked at: those of one model together.

    Args:
        tasks: all of them; the models are drawn with in the order of their first tasks.

    Attributes:
        tasks: all of them, or None where they come as a stream.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        alike: dict[str | None, list[Task]] = {}
        for task in tasks:
            alike.setdefault(task.request.model, []).append(task)
        self.tasks: Sequence[Task] | None = [task for group in alike.values() for task in group]
        self._ready: deque[Task | Rejected] = deque(self.tasks)
        self._shown = self._overtaken = 0
        self._ended = True

    def head(self, wait: bool, model: str | type[AnyModel] | None = AnyModel) -> Task | Rejected | None:
        """What comes next, without taking it.

        Args:
            wait: for a stream, until something comes or it ends.
            model: look only for what is for this model, up to ``LOOKAHEAD`` tasks behind one of another; so
                many may overtake it. Nothing overtakes what is rejected.

        Returns:
            None where there is nothing now, or nothing more.
        """
        for place, item in enumerate(self._ready):
            if place and (isinstance(item, Rejected) or max(place, self._overtaken) >= LOOKAHEAD):
                return None
            if isinstance(item, Rejected) or model in (AnyModel, item.request.model):
                self._shown = place
                return item
        return None

    def take(self) -> None:
        """Take what ``head`` showed."""
        del self._ready[self._shown]
        self._overtaken = self._overtaken + 1 if self._shown else 0

    def end(self) -> list[Task | Rejected]:
        """Give nothing more; what has come and was not taken."""
        left, self._ended = list(self._ready), True
        self._ready.clear()
        return left


class Stream(Feed):
    """Tasks that come as somebody writes them; a thread reads ahead, from when the first is asked for.

    Args:
        items: may block.
        stopping: whether to stop waiting.
    """

    def __init__(self, items: Iterable[Task | Rejected], stopping: Callable[[], bool]) -> None:
        super().__init__(())
        self.tasks = None
        self._ended = False
        self._error: BaseException | None = None
        self._stopping = stopping
        self._queue: queue.Queue[Task | Rejected | BaseException | None] = queue.Queue(LOOKAHEAD)
        self._thread = threading.Thread(target=self._read, args=(items,), daemon=True)

    def head(self, wait: bool, model: str | type[AnyModel] | None = AnyModel) -> Task | Rejected | None:
        """As ``Feed.head``; once what came before is taken, raises what reading the stream raised.

        It does not wait while there is something for another model.
        """
        if self._thread.ident is None and not self._ended:
            self._thread.start()
        while not self._ended and len(self._ready) < LOOKAHEAD:
            patient = wait and not self._ready
            try:
                item = self._queue.get(timeout=_PATIENCE) if patient else self._queue.get_nowait()
            except queue.Empty:
                if patient and not self._stopping():
                    continue
                break
            if item is None or isinstance(item, BaseException):
                self._ended, self._error = True, item
            else:
                self._ready.append(item)
        if self._error is not None and not self._ready:
            error, self._error = self._error, None
            raise error
        return super().head(wait, model)

    def end(self) -> list[Task | Rejected]:
        """As ``Feed.end``; what is still being read counts as having come, for a moment."""
        reading = self._thread.ident is not None and not self._ended
        left = super().end()
        deadline = time.monotonic() + _LAST_WAIT
        while reading and (remaining := deadline - time.monotonic()) > 0:
            try:
                item = self._queue.get(timeout=min(_PATIENCE, remaining))
            except queue.Empty:
                break
            if item is None or isinstance(item, BaseException):
                break
            left.append(item)
        return left

    def _read(self, items: Iterable[Task | Rejected]) -> None:
        try:
            for item in items:
                self._queue.put(item)
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error)
