"""``Drawer``: one thread that draws what all clients ask for, in batches of one shape."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sdgen.batch.model_changes import ModelChanges
from sdgen.batch.outcomes import CANCELLED, Outcome
from sdgen.batch.policy import Policy
from sdgen.batch.renderer import Renderer
from sdgen.batch.request_queue import RequestQueue
from sdgen.batch.store import Sink
from sdgen.batch.tasks import Rejected, Task
from sdgen.errors import InputError, SdgenError
from sdgen.request import Request
from sdgen.serve import previews
from sdgen.serve.drawing import Drawing, Drawn, Dropped, Event, Failed, Listener, Stepped

if TYPE_CHECKING:
    from sdgen.images.image import Image
    from sdgen.pipeline.engine import Engine
    from sdgen.pipeline.results import Progress
    from sdgen.pipeline.watching import Watch

LOG = logging.getLogger("sdgen")

OVERTAKING = 64
"""Requests for the loaded model that may overtake one for another model."""

_FIRST_GUESS = 10.0
"""Seconds that a picture is taken to need until one has been drawn."""

_LONGEST_WAIT = 600
"""Seconds after which a client is told to come back, at most."""

CANCELLED_CALL = "it was cancelled"
STOPPING = "the server is stopping; ask again once it is back"


class Full(SdgenError):
    """More pictures wait than may; ``seconds`` is when to ask again."""

    def __init__(self, message: str, seconds: int = 1) -> None:
        super().__init__(message)
        self.seconds = seconds


class _Handed(Sink):
    """A store that hands each image on with its task, in the finisher's thread."""

    def __init__(self, hand: Callable[[Task, Image], None]) -> None:
        super().__init__(lambda image: None)
        self._hand = hand

    def save_task(self, task: Task, image: Image) -> None:
        """Hand the image on."""
        self._hand(task, image)


class Drawer:
    """Draws requests of many callers.

    Calls may come from any thread. What waits is drawn in the order in which it came, together with what has
    the same shape (``batch.packing``); nothing waits for company. An error costs the pictures that it is
    about.

    Args:
        load: gives the engine of a model's name; called in the drawing thread.
        policy: how to draw; what a server needs of it is set here.
        most: pictures that may be asked for and not be there yet.
        observed: told of each picture that was drawn, with the seconds from its call.

    Attributes:
        queue: what waits.
    """

    def __init__(
        self,
        load: Callable[[str], Engine],
        policy: Policy | None = None,
        most: int = 64,
        observed: Callable[[Image, float], None] = lambda image, seconds: None,
    ) -> None:
        self.most = most
        self.queue = RequestQueue(ModelChanges(OVERTAKING))
        self._observed = observed
        policy = dataclasses.replace(
            policy or Policy(), endless=True, fitted=True, watches=self._watch, told=self._told
        )
        self._renderer = Renderer(load, _Handed(self._hand), policy, lambda: self._stopping)
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._pending: dict[int, tuple[Drawing, int, float]] = {}
        self._seconds_each: float | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="sdgen-drawer", daemon=True)

    def start(self, first: Callable[[], None] = lambda: None) -> None:
        """Begin to draw; ``first`` is called in the drawing thread before."""
        self._first = first
        self._thread.start()

    def stop(self, patience: float) -> bool:
        """Stop between two steps; what is not drawn is told as dropped. Whether that took no more seconds."""
        with self._lock:
            self._stopping = True
            self.queue.close()
        if self._thread.ident is not None:
            self._thread.join(patience)
        self._drop_all()
        return not self._thread.is_alive()

    @property
    def pending(self) -> int:
        """Pictures that are asked for and not there yet."""
        return len(self._pending)

    def submit(
        self,
        requests: Sequence[Request],
        listener: Listener,
        watch: Watch | None = None,
        bounded: bool = True,
    ) -> Drawing:
        """Ask for pictures.

        Args:
            requests: each with its model.
            listener: told what happens.
            watch: which of their steps are to be seen.
            bounded: whether they count among those of which only so many may wait.

        Raises:
            Full: too many wait; none of these is drawn.
            Dropped: the drawer has stopped.
        """
        with self._lock:
            if self._stopping:
                raise Dropped(STOPPING)
            waiting = sum(each[0].bounded for each in self._pending.values())
            if bounded and waiting + len(requests) > self.most:
                seconds = self.wait()
                raise Full(
                    f"{waiting} pictures wait, and at most {self.most} may; ask again in {seconds} s", seconds
                )
            numbers = [next(self._numbers) for _ in requests]
            drawing = Drawing(requests, numbers, listener, watch, bounded)
            now = self.queue.clock.now()
            self._pending |= {number: (drawing, place, now) for place, number in enumerate(numbers)}
            for request, number in zip(requests, numbers, strict=True):
                self.queue.put(Task(request, number))
        return drawing

    def cancel(self, drawing: Drawing, reason: str = CANCELLED_CALL) -> None:
        """What of it is not drawn yet is told as dropped, at once, and is drawn no further."""
        for number in drawing.numbers:
            self._cancel(number, reason)

    def cancel_one(self, drawing: Drawing, place: int) -> None:
        """``cancel`` for one picture of a call."""
        self._cancel(drawing.numbers[place], CANCELLED_CALL)

    def cancel_all(self, reason: str = CANCELLED_CALL) -> None:
        """``cancel`` for everything that is asked for."""
        for drawing in {id(each[0]): each[0] for each in tuple(self._pending.values())}.values():
            self.cancel(drawing, reason)

    def ahead(self, drawing: Drawing) -> int:
        """How many pictures that came before a call's first are not there yet."""
        return sum(number < drawing.numbers[0] for number in tuple(self._pending))

    def wait(self, pictures: int | None = None) -> int:
        """Seconds that so many pictures take, all that wait by default; 1 to ``_LONGEST_WAIT``."""
        count = len(self._pending) if pictures is None else pictures
        seconds = count * (_FIRST_GUESS if self._seconds_each is None else self._seconds_each)
        return max(1, min(_LONGEST_WAIT, round(seconds)))

    def _cancel(self, number: int, reason: str) -> None:
        # What is being stored just now is told as drawn.
        if self.queue.cancel(number):
            self._settle(number, functools.partial(Failed, error=Dropped(reason)))

    def _run(self) -> None:
        self._first()
        while not self._stopping:
            try:
                for event in self._renderer.run(self.queue):
                    self._take(event)
            except Exception as error:
                # Whose fault it is nobody knows, so none of what was begun is begun again.
                LOG.exception("drawing failed")
                self._drop_all(error)
        self._drop_all()

    def _take(self, event: object) -> None:
        if isinstance(event, Rejected):
            error = InputError(event.message, event.field)
            self._settle(event.number, functools.partial(Failed, error=error))
        elif isinstance(event, Outcome) and event.status == CANCELLED:
            dropped = Dropped(CANCELLED_CALL)
            self._settle(event.task.number, functools.partial(Failed, error=dropped))
        elif isinstance(event, Outcome) and event.error is not None:
            failed = event.error
            LOG.debug("a picture failed", exc_info=failed)
            self._settle(event.task.number, functools.partial(Failed, error=failed))

    def _hand(self, task: Task, image: Image) -> None:
        """An image is there: whoever asked for it gets it now, not when the batch after it is through."""
        known = self._seconds_each
        self._seconds_each = image.seconds if known is None else 0.8 * known + 0.2 * image.seconds
        pending = self._pending.get(task.number)
        if pending is not None:
            self._observed(image, self.queue.clock.now() - pending[2])
        self._settle(task.number, functools.partial(Drawn, image=image))

    def _settle(self, number: int, event: Callable[[int], Event]) -> None:
        with self._lock:
            pending = self._pending.pop(number, None)
        if pending is not None:
            drawing, place, _ = pending
            drawing.tell(event(place))

    def _drop_all(self, error: Exception | None = None) -> None:
        for number in tuple(self._pending):
            drawing, place, _ = self._pending[number]
            if error is not None:  # The queue may hold it or not.
                self.queue.cancel(number)
                self.queue.done(Task(drawing.requests[place], number))
            failure = error or Dropped(STOPPING)
            self._settle(number, functools.partial(Failed, error=failure))

    def _drawings(self, tasks: Sequence[Task]) -> list[tuple[Drawing, int] | None]:
        """Whose tasks they are; None for one that nobody wants any more."""
        found = (self._pending.get(task.number) for task in tasks)
        return [None if each is None else each[:2] for each in found]

    def _watch(self, engine: Engine, tasks: Sequence[Task]) -> Watch | None:
        """The steps that anybody wants to see of tasks that are drawn together."""
        watches = [each[0].watch for each in self._drawings(tasks) if each is not None]
        return previews.together(engine, [watch for watch in watches if watch is not None])

    def _told(self, tasks: Sequence[Task], progress: Progress) -> None:
        for image, found in enumerate(self._drawings(tasks)):
            if found is not None:
                drawing, place = found
                step, steps = previews.steps(progress, image)
                seen = previews.seen(drawing.watch, progress, image)
                drawing.tell(Stepped(place, step, steps, seen))
