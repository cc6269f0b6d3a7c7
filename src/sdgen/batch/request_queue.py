"""``RequestQueue``: requests that wait to be drawn, put and cancelled by any thread.

A command fills one from its input (``sdgen.batch.feeds``); a server puts what its clients ask for.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from sdgen.batch.model_changes import AnyModel, Model, ModelChanges
from sdgen.batch.tasks import Cancelled, Item, Rejected, Task
from sdgen.errors import InputError

PATIENCE = 0.1
"""Seconds between two looks at whether to stop, while a queue has nothing."""


class Clock:
    """Time as a queue sees it."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        """Wait, with the lock that is held, for a change or until so many seconds have passed."""
        changed.wait(seconds)


class RequestQueue:
    """Tasks in the order in which they come, of any models.

    One thread takes (``head``, ``take``, ``wait``); all else may come from any thread.

    Args:
        changes: in which order tasks of several models are given.
        clock: for tests.

    Attributes:
        tasks: all that will ever come, or None where nobody knows.
    """

    tasks: Sequence[Task] | None = None

    def __init__(self, changes: ModelChanges | None = None, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self._changes = changes or ModelChanges()
        self._stopping: Callable[[], bool] = lambda: False
        self._changed = threading.Condition()
        self._version = 0
        self._waiting: deque[Task | Rejected] = deque()
        self._withdrawn: deque[Cancelled] = deque()
        self._arrivals: dict[int, float] = {}
        self._cancelled: set[int] = set()
        self._shown: tuple[int, Item | None] = (0, None)
        self._closed = False
        self._error: BaseException | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._closed

    @property
    def version(self) -> int:
        """Grows with every change that another thread makes; see ``wait``."""
        return self._version

    def stop_waiting_when(self, stopping: Callable[[], bool]) -> None:
        """Whoever waits for more gives up once ``stopping`` says so."""
        self._stopping = stopping

    def put(self, item: Task | Rejected) -> None:
        """Adds a task, or what the input has in a task's place.

        Raises:
            InputError: the queue is closed, or has a task of this number that is not done with.
        """
        with self._changed:
            if self._closed:
                raise InputError("no more requests are taken")
            if isinstance(item, Task) and item.number in self._arrivals:
                raise InputError(f"there is a request of the number {item.number} already")
            self._add(item)

    def close(self, error: BaseException | None = None) -> None:
        """Says that nothing more will come; ``error`` is raised once all that has come is taken."""
        with self._changed:
            if not self._closed:
                self._closed, self._error = True, error
            self._tell()

    def cancel(self, number: int) -> bool:
        """Cancel a task, wherever it is; False where it is done with, is being stored or never came.

        If it waits, it is never drawn. If it is being drawn, drawing stops between two steps once all images
        of its batch are cancelled; else its image is dropped. In each case it is told as cancelled.
        """
        with self._changed:
            if number not in self._arrivals or number in self._cancelled:
                return number in self._cancelled
            self._cancelled.add(number)
            for place, item in enumerate(self._waiting):
                if isinstance(item, Task) and item.number == number:
                    del self._waiting[place]
                    self._withdrawn.append(Cancelled(item))
                    break
            self._tell()
            return True

    def head(self, wait: bool, model: Model = AnyModel) -> Item | None:
        """The next item, which stays in the queue.

        Args:
            wait: until there is something for any model, or nothing more will come, or the run stops.
            model: look only for what is for this model; see ``ModelChanges``.

        Returns:
            None where there is nothing now, or nothing more.

        Raises:
            BaseException: what ``close`` was given, once.
        """
        with self._changed:
            while wait and not (self._waiting or self._withdrawn or self._closed or self._stopping()):
                self.clock.wait(self._changed, PATIENCE)
            if self._withdrawn:
                self._shown = 0, self._withdrawn[0]
                return self._withdrawn[0]
            if self._error is not None and not self._waiting:
                error, self._error = self._error, None
                raise error
            place = self._changes.next_place(self._waiting, model)
            if place is None:
                return None
            self._shown = place, self._waiting[place]
            return self._waiting[place]

    def take(self) -> bool:
        """Take what ``head`` showed last; False where it was cancelled meanwhile."""
        with self._changed:
            place, shown = self._shown
            if isinstance(shown, Cancelled):
                self._withdrawn.popleft()
                return True
            # What stood before it may have been cancelled.
            while place and (place >= len(self._waiting) or self._waiting[place] is not shown):
                place -= 1
            if not self._waiting or self._waiting[place] is not shown:
                return False
            del self._waiting[place]
            self._changes.took(place)
            self._changed.notify_all()
            return True

    def end(self) -> list[Task | Rejected]:
        """Give nothing more; what has come and was not taken."""
        with self._changed:
            left = list(self._waiting)
            self._waiting.clear()
            self._closed, self._error = True, None
            self._tell()
            return left

    def wait(self, version: int, until: float) -> None:
        """Wait for a change since ``version``, or until the clock shows ``until``, or the run stops."""
        with self._changed:
            while self._version == version and not self._stopping():
                left = until - self.clock.now()
                if left <= 0:
                    return
                self.clock.wait(self._changed, min(left, PATIENCE))

    def arrived(self, task: Task) -> float:
        """When a task came, by the clock; minus infinity once it is done with."""
        return self._arrivals.get(task.number, float("-inf"))

    def is_cancelled(self, task: Task) -> bool:
        """Whether a task that was taken has been cancelled since."""
        return task.number in self._cancelled

    @property
    def any_cancelled(self) -> bool:
        """Whether ``is_cancelled`` may be true of some task."""
        return bool(self._cancelled)

    def keep(self, task: Task) -> bool:
        """Says that an image is about to be stored: its task can be cancelled no more. False if it was."""
        with self._changed:
            if task.number in self._cancelled:
                return False
            self._arrivals.pop(task.number, None)
            return True

    def done(self, task: Task) -> None:
        """A task is done with, and its number free."""
        with self._changed:
            self._arrivals.pop(task.number, None)
            self._cancelled.discard(task.number)

    def _add(self, item: Task | Rejected) -> None:
        if isinstance(item, Task):
            self._arrivals[item.number] = self.clock.now()
        self._waiting.append(item)
        self._tell()

    def _tell(self) -> None:
        self._version += 1
        self._changed.notify_all()
