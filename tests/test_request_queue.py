"""The queue, the packer and a run without any prompts' feed: put and cancelled from other threads."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import stand_in
from limits import within
from stand_in import Denoised, Job, Progress

from sdgen.batch.batch_folder import BatchFolder
from sdgen.batch.outcomes import CANCELLED, DRAWN, Outcome
from sdgen.batch.packing import Packer
from sdgen.batch.policy import Policy
from sdgen.batch.renderer import Renderer
from sdgen.batch.request_queue import Clock, RequestQueue
from sdgen.batch.tasks import Cancelled, Rejected, Task
from sdgen.errors import InputError
from sdgen.pipeline.watching import Watch
from sdgen.request import Request


def task(number: int, model: str = "a", width: int = 64, prompt: str = "fox") -> Task:
    return Task(Request(prompt=prompt, seed=number, model=model, width=width), number)


class Held(stand_in.Pipeline):
    """Waits between two steps of each batch for a permit, and draws up to two images at once."""

    def __init__(self) -> None:
        self.drawing: threading.Semaphore = threading.Semaphore(0)
        self.permits: threading.Semaphore = threading.Semaphore(0)
        self.batches: list[list[int]] = []
        self.steps = 0

    def batch_limit(self, asked: int | None = None) -> int:
        return asked or 2

    def draw(
        self, jobs: Sequence[Job], size: int, jit: bool, watch: Watch | None = None
    ) -> Iterator[Progress | Denoised]:
        self.batches.append([job.request.seed for job in jobs])
        for event in super().draw(jobs, size, jit, watch):
            if isinstance(event, Progress) and event.step == 1:
                self.drawing.release()
                assert self.permits.acquire(timeout=20)
            self.steps += isinstance(event, Progress)
            yield event


@dataclasses.dataclass
class Served:
    """A run in a thread of its own, which draws what is put into ``queue``."""

    folder: Path
    queue: RequestQueue = dataclasses.field(default_factory=RequestQueue)
    pipeline: Any = dataclasses.field(default_factory=Held)
    policy: Policy = dataclasses.field(default_factory=Policy)
    events: list[Any] = dataclasses.field(default_factory=list)
    loads: list[str] = dataclasses.field(default_factory=list)

    def __enter__(self) -> Served:
        store = BatchFolder(self.folder)
        store.prepare(1, 1)
        renderer = Renderer(self._load, store, self.policy)
        self._thread = threading.Thread(target=lambda: self.events.extend(renderer.run(self.queue)))
        self._thread.daemon = True
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pipeline.permits.release(100)
        self.queue.close()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def began(self) -> None:
        """Waits until a batch is between two steps."""
        assert self.pipeline.drawing.acquire(timeout=20)

    def outcomes(self) -> dict[int, str]:
        return {event.task.number: event.status for event in self.events if isinstance(event, Outcome)}

    def _load(self, model: str) -> Any:
        self.loads.append(model)
        return self.pipeline


def test_a_request_that_is_cancelled_while_it_waits_is_never_drawn(tmp_path: Path) -> None:
    with Served(tmp_path) as run:
        run.queue.put(task(1))
        run.began()
        run.queue.put(task(2))
        run.queue.put(task(3))
        assert run.queue.cancel(2)
    assert run.outcomes() == {1: DRAWN, 2: CANCELLED, 3: DRAWN}
    assert run.pipeline.batches == [[1], [3]]


def test_a_request_that_is_cancelled_while_it_waits_for_its_batch_is_never_drawn(tmp_path: Path) -> None:
    queue = RequestQueue()
    for n in range(1, 5):
        queue.put(task(n))
    with Served(tmp_path, queue) as run:
        run.began()
        assert queue.cancel(3)
    assert run.outcomes() == {1: DRAWN, 2: DRAWN, 3: CANCELLED, 4: DRAWN}
    assert run.pipeline.batches == [[1, 2], [4]]


def test_drawing_stops_between_two_steps_once_its_only_image_is_cancelled(tmp_path: Path) -> None:
    with Served(tmp_path) as run:
        run.queue.put(task(1))
        run.began()
        assert run.queue.cancel(1)
        run.pipeline.permits.release()
    assert run.outcomes() == {1: CANCELLED}
    assert run.pipeline.steps == 1  # Of four.
    assert not list(tmp_path.iterdir())  # No claim is left.


def test_of_a_batch_the_cancelled_image_alone_is_dropped(tmp_path: Path) -> None:
    queue = RequestQueue()
    queue.put(task(1))
    queue.put(task(2))
    with Served(tmp_path, queue) as run:
        run.began()
        assert queue.cancel(1)
    assert run.outcomes() == {1: CANCELLED, 2: DRAWN}
    assert run.pipeline.batches == [[1, 2]]
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_what_is_told_once_cannot_be_cancelled(tmp_path: Path) -> None:
    with Served(tmp_path) as run:
        run.queue.put(task(1))
    assert run.outcomes() == {1: DRAWN}
    assert not run.queue.cancel(1)
    assert not run.queue.cancel(99)


def test_a_number_is_free_again_once_its_task_is_done_with(tmp_path: Path) -> None:
    with Served(tmp_path) as run:
        run.queue.put(task(1))
        run.began()
        with pytest.raises(InputError, match="there is a request of the number 1 already"):
            run.queue.put(task(1))
        run.queue.cancel(1)
    queue = RequestQueue()
    queue.put(task(1))
    queue.cancel(1)
    head = queue.head(wait=True)
    assert isinstance(head, Cancelled) and queue.take()
    queue.done(head.task)
    queue.put(task(1))


def test_nothing_is_put_into_a_closed_queue() -> None:
    queue = RequestQueue()
    queue.close()
    with pytest.raises(InputError, match="no more requests are taken"):
        queue.put(task(1))


def test_models_may_come_in_any_order_and_the_loaded_one_goes_first(tmp_path: Path) -> None:
    queue = RequestQueue()
    for n, model in enumerate("abab", 1):
        queue.put(task(n, model))
    with Served(tmp_path, queue) as run:
        pass
    assert run.pipeline.batches == [[1, 3], [2, 4]]
    assert run.loads == ["a", "b"]


def test_a_request_that_the_model_cannot_draw_is_told_with_its_number(tmp_path: Path) -> None:
    with Served(tmp_path) as run:
        run.queue.put(task(5, width=104))
    assert [event.number for event in run.events if isinstance(event, Rejected)] == [5]


def test_a_run_waits_for_requests_until_it_is_stopped(tmp_path: Path) -> None:
    queue, stop = RequestQueue(), threading.Event()
    store = BatchFolder(tmp_path)
    store.prepare(1, 1)
    run = Renderer(lambda model: stand_in.Pipeline(), store, Policy(), stop.is_set).run(queue)
    queue.put(task(1))

    def to_the_end() -> int:
        drawn = 0
        for event in run:
            if isinstance(event, Outcome):
                drawn += 1
                stop.set()
        return drawn

    assert within(20, to_the_end) == 1


@dataclasses.dataclass
class Told(Clock):
    """Time passes when somebody waits, and only then; ``comes`` is put into the queue at the first wait."""

    comes: Task | None = None
    queue: RequestQueue | None = None
    time: float = 100.0
    waited: list[float] = dataclasses.field(default_factory=list)

    def now(self) -> float:
        return self.time

    def wait(self, changed: threading.Condition, seconds: float) -> None:
        self.waited.append(seconds)
        coming, self.comes = self.comes, None
        if coming is not None and self.queue is not None:
            self.queue.put(coming)
        else:
            self.time += seconds


class Quick(Held):
    """Closes its queue once it has drawn, so that its run ends."""

    def __init__(self, queue: RequestQueue, after: int) -> None:
        super().__init__()
        self.permits.release(100)
        self._queue, self._after = queue, after
        self.times: list[float] = []

    def draw(
        self, jobs: Sequence[Job], size: int, jit: bool, watch: Watch | None = None
    ) -> Iterator[Progress | Denoised]:
        self.times.append(self._queue.clock.now())
        if len(self.batches) + 1 == self._after:
            self._queue.close()
        yield from super().draw(jobs, size, jit, watch)


def served(folder: Path, clock: Told, company: float, batches: int, *first: Task) -> Quick:
    """What is drawn of a queue with some tasks, in so many batches."""
    queue = clock.queue = RequestQueue(clock=clock)
    for one in first:
        queue.put(one)
    run = Served(folder, queue, Quick(queue, batches), Policy(company=company))
    store = BatchFolder(folder)
    store.prepare(1, 1)
    within(20, lambda: list(Renderer(run._load, store, run.policy).run(queue)))
    assert isinstance(run.pipeline, Quick)
    return run.pipeline


def test_company_is_waited_for_as_long_as_asked_and_no_longer(tmp_path: Path) -> None:
    clock = Told()
    pipeline = served(tmp_path, clock, 0.05, 1, task(1))
    assert pipeline.batches == [[1]]
    assert pipeline.times == [pytest.approx(100.05)]


def test_company_that_comes_is_drawn_with_at_once(tmp_path: Path) -> None:
    clock = Told(comes=task(50))
    pipeline = served(tmp_path, clock, 0.05, 1, task(1))
    assert pipeline.batches == [[1, 50]]
    assert pipeline.times == [100.0]


def test_a_full_batch_waits_for_nobody(tmp_path: Path) -> None:
    clock = Told()
    assert served(tmp_path, clock, 60, 1, task(1), task(2)).batches == [[1, 2]]
    assert not clock.waited


def test_a_command_waits_for_no_company(tmp_path: Path) -> None:
    clock = Told()
    assert served(tmp_path, clock, 0, 1, task(1)).batches == [[1]]
    assert not clock.waited


def test_where_nothing_more_can_come_no_company_is_waited_for(tmp_path: Path) -> None:
    clock = Told()
    queue = RequestQueue(clock=clock)
    queue.put(task(1))
    queue.close()
    with Served(tmp_path, queue, policy=Policy(company=60)) as run:
        pass
    assert run.outcomes() == {1: DRAWN}
    assert not clock.waited


def packer(arrivals: dict[int, float], company: float) -> Packer:
    """Batches of two; tasks of odd and even numbers have two shapes, and 100 has a third."""
    packed = Packer(lambda request: 2, lambda task: True, False, company, lambda task: arrivals[task.number])
    for number in arrivals:
        one = task(number)
        packed.add((one, Job(one.request, (number % 2 if number != 100 else "other",))))
    return packed


def numbers(packed: Packer, now: float | None) -> list[int]:
    return [task.number for task, _ in packed.pop(now)]


def test_two_shapes_take_turns() -> None:
    packed = packer({n: float(n) for n in range(1, 9)}, 1.0)
    assert [numbers(packed, 9.5) for _ in range(5)] == [[1, 3], [2, 4], [5, 7], [6, 8], []]


def test_full_batches_overtake_a_lone_request_only_while_it_may_have_company() -> None:
    arrivals = {100: 0.0, **dict.fromkeys((1, 3, 5, 7), 0.1)}
    packed = packer(arrivals, 1.0)
    assert numbers(packed, 0.2) == [1, 3]
    assert numbers(packed, 1.0) == [100]
    assert numbers(packed, 1.0) == [5, 7]


def test_the_packer_says_when_its_next_batch_is_due() -> None:
    packed = packer({1: 3.0, 2: 2.0}, 1.0)
    assert numbers(packed, 2.5) == []
    assert packed.due == 3.0
    assert numbers(packed, 3.0) == [2]
    assert numbers(packed, None) == [1]
