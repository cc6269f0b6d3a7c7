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
    """Something in the input that is no task, with a sentence that says where and why."""

    message: str


@dataclasses.dataclass(frozen=True)
class Task:
    """One image that a run is asked for.

    Attributes:
        request: as it was asked for; what is None is the model's to decide.
        number: its place in the whole job, from 1.
        source: file and line that it comes from, where there are any.
    """

    request: Request
    number: int = 1
    source: str = ""

    def rejected(self, error: Exception) -> Rejected:
        """Why the task cannot be drawn."""
        return Rejected(f"{self.source}: {error}" if self.source else str(error))


class Feed:
    """Tasks in the order in which they are to be looked at.

    Attributes:
        tasks: all of them, or None where they come as a stream.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks: Sequence[Task] | None = tasks
        self._ready: deque[Task | Rejected] = deque(tasks)
        self._ended = True

    def head(self, wait: bool) -> Task | Rejected | None:
        """What comes next, without taking it.

        Args:
            wait: for a stream, until something comes or it ends.

        Returns:
            None where there is nothing now, or nothing more.
        """
        return self._ready[0] if self._ready else None

    def take(self) -> None:
        """Take what ``head`` showed."""
        self._ready.popleft()

    def end(self) -> list[Task | Rejected]:
        """Give nothing more; what has come and was not taken."""
        left, self._ended = list(self._ready), True
        self._ready.clear()
        return left


class Stream(Feed):
    """Tasks that come as somebody writes them; a thread reads ahead.

    Args:
        items: may block.
        stopping: whether to stop waiting.
    """

    def __init__(self, items: Iterable[Task | Rejected], stopping: Callable[[], bool]) -> None:
        super().__init__(())
        self.tasks = None
        self._ended = False
        self._stopping = stopping
        self._queue: queue.Queue[Task | Rejected | BaseException | None] = queue.Queue(LOOKAHEAD)
        threading.Thread(target=self._read, args=(items,), daemon=True).start()

    def head(self, wait: bool) -> Task | Rejected | None:
        """As ``Feed.head``; raises what reading the stream raised."""
        while not self._ready and not self._ended:
            try:
                item = self._queue.get(timeout=_PATIENCE) if wait else self._queue.get_nowait()
            except queue.Empty:
                if wait and not self._stopping():
                    continue
                return None
            if isinstance(item, BaseException):
                self._ended = True
                raise item
            if item is None:
                self._ended = True
            else:
                self._ready.append(item)
        return super().head(wait)

    def end(self) -> list[Task | Rejected]:
        """As ``Feed.end``; what is still being read counts as having come, for a moment."""
        left = super().end()
        deadline = time.monotonic() + _LAST_WAIT
        while (remaining := deadline - time.monotonic()) > 0:
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
