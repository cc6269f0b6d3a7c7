"""The part of a run that one model draws: see ``sdgen.batch.renderer``."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sdgen import backend
from sdgen.batch.finisher import Finisher
from sdgen.batch.model_changes import LOOKAHEAD
from sdgen.batch.outcomes import CANCELLED, DRAWN, FAILED, KEPT, Note, Outcome, Planned, steps_left_out
from sdgen.batch.packing import Kind, Packer, Pair, kind
from sdgen.batch.policy import Policy
from sdgen.batch.request_queue import RequestQueue
from sdgen.batch.setbacks import Remedy, Setbacks
from sdgen.batch.store import Store
from sdgen.batch.tasks import Cancelled, Rejected, Task
from sdgen.errors import ImageError, InputError, OutputError, SdgenError
from sdgen.request import Request
from sdgen.text.plurals import counted

if TYPE_CHECKING:
    from sdgen.images.image import Image
    from sdgen.images.image_and_sidecar import Saved
    from sdgen.pipeline.engine import Engine
    from sdgen.pipeline.results import Progress

_BETWEEN_LOOKS = 0.5
"""Seconds between two looks at what other processes draw."""


@dataclasses.dataclass(frozen=True)
class _Unusable:
    """An image that came out unusable in a small dtype."""

    pair: Pair
    image: Image


class ModelRun:
    """Draws those tasks of a queue that are for one model; the arguments are those of ``Renderer``."""

    def __init__(
        self,
        pipeline: Engine,
        model: str | None,
        queue: RequestQueue,
        store: Store,
        policy: Policy,
        stopping: Callable[[], bool],
    ) -> None:
        self._pipeline, self._model, self._queue = pipeline, model, queue
        self._store, self._policy, self._stopping = store, policy, stopping
        self._packer = Packer(self._limit, self._claim, policy.in_order, policy.company, queue.arrived)
        self._finisher: Finisher[Pair, Outcome | _Unusable] = Finisher(pipeline.decode, self._finish)
        self._claimed: dict[int, Task] = {}
        self._unusable: deque[_Unusable] = deque()
        self._rejected: set[int] = set()
        self._retried: set[int] = set()
        self._counts: Counter[Kind] | None = None
        self._jit = True
        self._overlap = not pipeline.low_memory
        self._setbacks = Setbacks(policy)
        self._explained: set[str] = set()
        self._awaited = False
        self._wide: Engine | None = None

    def events(self) -> Iterator[Progress | Outcome | Rejected | Planned | Note]:
        """Draw until the queue has nothing more for this model."""
        try:
            yield from self._events()
        except Exception as error:
            # What is drawn is kept, and told; after a full disk the rest is not tried.
            self._finisher.close(finish=not isinstance(error, OutputError))
            yield from (result for result in self._finisher.results() if isinstance(result, Outcome))
            raise

    def _events(self) -> Iterator[Progress | Outcome | Rejected | Planned | Note]:
        yield from self._plan()
        while not self._stopping():
            version = self._queue.version
            yield from self._read()
            yield from self._drop_cancelled()
            if batch := self._packer.pop(None if self._queue.closed else self._queue.clock.now()):
                yield from self._draw(batch)
            elif self._finisher.busy:
                yield from self._collect(wait=True)
            elif self._unusable:
                yield from self._draw_wide(self._unusable.popleft())
            elif self._packer.due is not None:
                self._queue.wait(version, self._packer.due)
            elif self._packer.claimed_by_others and not self._more(wait=False):
                yield from self._await_others()
            elif not self._more(wait=True):
                return
        while self._finisher.busy:
            yield from self._collect(wait=True)

    def close(self) -> None:
        """Let go of what was not finished, and of the model."""
        self._finisher.close()
        for task in tuple(self._claimed.values()):
            self._release(task)
        del self._pipeline, self._wide

    def _plan(self) -> Iterator[Rejected | Planned]:
        """Look at all tasks, where they are known, to say what the model cannot draw before it draws."""
        if self._queue.tasks is None:
            yield Planned(None)
            return
        requests = []
        for task in self._queue.tasks:
            if task.request.model == self._model:
                try:
                    requests.append(self._pipeline.resolve(task.request))
                except InputError as error:
                    self._rejected.add(task.number)
                    yield task.rejected(error)
        self._counts = Counter(map(kind, requests))
        self._jit = self._policy.jit or self._pipeline.pays_to_compile(requests, self._policy.batch_size)
        yield Planned(sum(request.steps_run for request in requests))

    def _limit(self, request: Request) -> int:
        """Images drawn at once: no more than there are of that kind in the whole job, drawn or not."""
        asked = self._policy.batch_size
        if asked is None and self._policy.choose is not None:
            asked = self._policy.choose(self._pipeline, request)
        limit = self._pipeline.batch_limit(asked)
        return limit if self._counts is None else max(1, min(limit, self._counts[kind(request)]))

    def _more(self, wait: bool) -> bool:
        """Whether the queue has something that is not for another model."""
        return self._queue.head(wait, self._model) is not None

    def _read(self) -> Iterator[Outcome | Rejected]:
        """Take tasks that are there, up to a number; what is settled already is done with."""
        while len(self._packer) < LOOKAHEAD and not self._stopping() and self._more(wait=False):
            item = self._queue.head(False, self._model)
            if item is None or not self._queue.take():
                continue
            if isinstance(item, Rejected):
                yield item
            elif isinstance(item, Cancelled):
                yield from self._settle(Outcome(item.task, item.task.request, CANCELLED))
            elif item.number in self._rejected:
                self._queue.done(item)
            else:
                yield from self._look_at(item)

    def _look_at(self, task: Task) -> Iterator[Outcome | Rejected]:
        """Have a task wait for its batch, unless it does not fit the model or is settled already."""
        try:
            job = self._pipeline.read(task.request)
        except Exception as error:
            kept, unforeseen = self._queue.keep(task), not isinstance(error, InputError)
            if kept and unforeseen and not self._policy.endless:
                raise
            if not kept or unforeseen:
                yield from self._settle(Outcome(task, task.request, FAILED, error=error))
            else:
                self._queue.done(task)
                yield task.rejected(error)
            return
        known = self._known(task, job.request)
        self._packer.add((task, job), there=known is not None)
        if known is not None:
            yield from self._settle(known)

    def _known(self, task: Task, request: Request) -> Outcome | None:
        """The outcome of a task that an earlier run or another process has settled."""
        if (saved := self._store.find(task, request)) is not None:
            return Outcome(task, request, KEPT, saved)
        if (error := self._store.failure(task, request)) is not None:
            return Outcome(task, request, FAILED, error=error)
        return None

    def _drop_cancelled(self) -> Iterator[Outcome]:
        """Tell of tasks that have been cancelled while they waited for their batch."""
        if self._queue.any_cancelled:
            for task, job in self._packer.remove(self._queue.is_cancelled):
                yield from self._settle(Outcome(task, job.request, CANCELLED))

    def _draw(self, batch: list[Pair]) -> Iterator[Progress | Outcome | Note]:
        """Denoise one batch and hand it to the finisher."""
        from sdgen.pipeline.results import Denoised

        while self._finisher.full or (self._finisher.busy and not self._overlap):
            yield from self._collect(wait=True)
        left = []
        for task, job in batch:  # Another process may have drawn it between our first look and our claim.
            if (known := self._known(task, job.request)) is None:
                left.append((task, job))
            else:
                yield from self._settle(known)
        if not left:
            return
        for _, job in left:
            if (text := steps_left_out(job.request)) and text not in self._explained:
                self._explained.add(text)
                yield Note(text)
        size = self._policy.program_size(len(left), self._packer.size(left[0][1].request))
        watch = self._policy.watching(self._pipeline, [task for task, _ in left])
        events = self._pipeline.draw([job for _, job in left], size, self._jit, watch)
        while not self._stopping():
            if all(self._queue.is_cancelled(task) for task, _ in left):
                for task, job in left:
                    yield from self._settle(Outcome(task, job.request, CANCELLED))
                return
            try:
                event = next(events, None)
            except Exception as error:
                yield from self._divide_failed(left, error)
                return
            if event is None:
                return
            if isinstance(event, Denoised):
                self._finisher.put(left, event)
                yield from self._collect()
                return
            self._policy.show([task for task, _ in left], event)
            yield event
            yield from self._collect()

    def _finish(self, pair: Pair, image: Image) -> Outcome | _Unusable:
        """Store one image; this runs in the finisher's thread."""
        task, _ = pair
        saved: Saved | None = None
        error: SdgenError | None = image.error
        if error is not None and self._pipeline.dtype != "float32" and task.number not in self._retried:
            return _Unusable(pair, image)
        if not self._queue.keep(task):
            return Outcome(task, image.request, CANCELLED)
        try:
            if image.error is None:
                saved = self._store.save_task(task, image)
            else:
                self._store.record_failure(task, image.request, image.error)
        except (OutputError, ImageError) as problem:
            error = problem
        status = DRAWN if error is None else FAILED
        return Outcome(task, image.request, status, saved, image.seconds, error, image.warnings)

    def _collect(self, wait: bool = False) -> Iterator[Outcome | Note]:
        """What the finisher has finished."""
        for result in self._finisher.results(wait):
            if isinstance(result, Outcome):
                yield from self._settle(result)
            elif isinstance(result, _Unusable):
                self._unusable.append(result)
            else:
                yield from self._divide_failed(list(result.items), result.error)

    def _settle(self, outcome: Outcome) -> Iterator[Outcome]:
        """A task is done with. A full disk is as full for the next image: the run ends."""
        if not self._queue.keep(outcome.task):
            outcome = Outcome(outcome.task, outcome.request, CANCELLED)
        self._release(outcome.task)
        self._queue.done(outcome.task)
        if outcome.status == DRAWN:
            self._setbacks.overcome()
        yield outcome
        if isinstance(outcome.error, OutputError) and not self._policy.endless:
            raise outcome.error

    def _divide_failed(self, batch: list[Pair], error: Exception) -> Iterator[Outcome | Note]:
        """A batch could not be drawn: a smaller one may be, or each of its images alone."""
        request = batch[0][1].request
        size = self._packer.size(request)
        remedy = self._setbacks.remedy(error, len(batch), size, self._overlap and self._finisher.busy)
        if remedy is Remedy.HALVE:
            half = self._packer.halve(request)
            if self._policy.learned is not None:
                self._policy.learned(self._pipeline, request, half)
            many = f"{size} images of {request.width}x{request.height} at once"
            yield Note(f"out of memory with {many}; going on with {half}")
            self._put_back(batch)
        elif remedy is Remedy.ONE_AT_A_TIME:
            self._overlap = False
            self._put_back(batch)
        elif remedy is Remedy.SEPARATE:
            self._packer.separate(batch)
        elif remedy is Remedy.GIVE_UP:
            yield from self._settle(Outcome(batch[0][0], request, FAILED, error=error))
        else:
            raise error

    def _draw_wide(self, unusable: _Unusable) -> Iterator[Progress | Outcome | Note]:
        """Draw in float32, alone and once, what came out unusable in a smaller dtype."""
        from sdgen.pipeline.results import Denoised

        task, image = unusable.pair[0], unusable.image
        self._retried.add(task.number)
        try:
            wide = self._wide = self._wide or self._pipeline.in_float32()
            cancelled = self._queue.is_cancelled(task)
            jobs = [wide.read(task.request)] if wide and not cancelled else []
            watch = self._policy.watching(self._pipeline, [task])
            for event in wide.draw(jobs, 1, self._jit, watch) if wide and jobs else ():
                if self._stopping():  # Between two steps: it stays undrawn.
                    return
                if self._queue.is_cancelled(task):
                    break
                if isinstance(event, Denoised):
                    assert wide is not None
                    (image,) = wide.decode(event)
                    note = f"drawn in float32; in {self._pipeline.dtype}: {unusable.image.error}"
                    image = dataclasses.replace(image, warnings=(*image.warnings, note))
                else:
                    self._policy.show([task], event)
                    yield event
        except Exception as error:
            if not backend.is_out_of_memory(error):
                yield from self._divide_failed([unusable.pair], error)
                return
        outcome = self._finish(unusable.pair, image)
        assert isinstance(outcome, Outcome)
        yield from self._settle(outcome)

    def _await_others(self) -> Iterator[Note]:
        """Look whether other processes have released the tasks that they had claimed."""
        pairs, self._packer.claimed_by_others = self._packer.claimed_by_others, []
        if not self._awaited:
            self._awaited = True
            yield Note(f"waiting for {counted(len(pairs), 'image')} that other processes draw")
        for pair in pairs:
            if self._claim(pair[0]):
                self._release(pair[0])
                self._packer.add(pair)
            else:
                self._packer.claimed_by_others.append(pair)
        if not len(self._packer):
            time.sleep(_BETWEEN_LOOKS)

    def _claim(self, task: Task) -> bool:
        claimed = self._store.claim(task)
        if claimed:
            self._claimed[task.number] = task
        return claimed

    def _release(self, task: Task) -> None:
        if self._claimed.pop(task.number, None) is not None:
            self._store.release(task)

    def _put_back(self, batch: list[Pair]) -> None:
        for task, _ in batch:
            self._release(task)
        self._packer.put_back(batch)
