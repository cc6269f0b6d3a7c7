"""Which tasks are drawn together."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from sdgen.batch.tasks import Task
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.pipeline.results import Job

Pair = tuple[Task, "Job"]
Kind = tuple[tuple[int, int] | None, bool, bool, bool]


def kind(request: Request) -> Kind:
    """What decides how much memory an image takes: its size, guided or not, fast or not, in tiles or not."""
    return request.picture_size, request.guided, request.fast, request.tiles


class Packer:
    """Tasks that wait to be drawn, and what is drawn next.

    A batch is ready once it is full, or its first task has waited for company long enough, or nothing more
    can come. Of those that are ready, the one whose first task came first is drawn. So full batches overtake
    a task only while it may still have company; after that, what came later is drawn before it in no batch
    but its own, however much comes, and tasks of two shapes take turns as they came.

    Args:
        limit: how many images of a request's kind to draw at once; asked once a kind.
        claim: makes a task ours, or says that another process draws it.
        in_order: gather only tasks that follow each other.
        company: seconds that a task waits for others to share its batch.
        arrived: when a task came.

    Attributes:
        claimed_by_others: tasks that another process had when it was their turn.
        due: when the next batch that ``pop`` found not to be ready will be; None where there is none.
    """

    def __init__(
        self,
        limit: Callable[[Request], int],
        claim: Callable[[Task], bool],
        in_order: bool,
        company: float = 0.0,
        arrived: Callable[[Task], float] = lambda task: float("-inf"),
    ) -> None:
        self._limit, self._claim, self._in_order = limit, claim, in_order
        self._company, self._arrived = company, arrived
        self.due: float | None = None
        self._sizes: dict[Kind, int] = {}
        self._waiting: list[Pair] = []
        self._there: set[int] = set()
        self._alone: deque[Pair] = deque()
        self.claimed_by_others: list[Pair] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, pair: Pair, there: bool = False) -> None:
        """A task waits; or its image is ``there`` already, and the task keeps its place in a batch free.

        So those that go on with a job draw the same tasks together as a run that nothing disturbed.
        """
        self._waiting.append(pair)
        if there:
            self._there.add(id(pair))

    def put_back(self, batch: list[Pair]) -> None:
        """A batch, whose claims are released, is to be drawn after all."""
        self._waiting = [*batch, *self._waiting]

    def separate(self, batch: list[Pair]) -> None:
        """A batch, still claimed, is to be drawn one by one."""
        self._alone.extend(batch)

    def size(self, request: Request) -> int:
        """How many images of a request's kind are drawn at once."""
        if kind(request) not in self._sizes:
            self._sizes[kind(request)] = self._limit(request)
        return self._sizes[kind(request)]

    def halve(self, request: Request) -> int:
        """Says that so many images took too much memory; returns how many to draw at once from now on."""
        self._sizes[kind(request)] = max(1, self.size(request) // 2)
        return self._sizes[kind(request)]

    def remove(self, unwanted: Callable[[Task], bool]) -> list[Pair]:
        """Tasks that are not to be drawn after all; those that are claimed still are."""
        removed = []
        for places in (self._alone, self._waiting, self.claimed_by_others):
            gone = [pair for pair in places if id(pair) not in self._there and unwanted(pair[0])]
            for pair in gone:
                places.remove(pair)
            removed += gone
        return removed

    def pop(self, now: float | None = None) -> list[Pair]:
        """The next batch, with all tasks claimed: the one that has waited longest, and those that fit it.

        Empty where nothing waits but tasks of other processes, and batches that are not ready.

        Args:
            now: the time; None where nothing more can come, and no company is waited for.
        """
        self.due = None
        if self._alone:
            return [self._alone.popleft()]
        while (first := self._first_ready(now)) is not None:
            size = self.size(first.request)
            batch: list[Pair] = []
            gone, free = set(), size
            for pair in self._alike(first):
                if not free:
                    break
                gone.add(id(pair))
                if id(pair) in self._there:
                    free -= 1
                elif self._claim(pair[0]):
                    free -= 1
                    batch.append(pair)
                else:
                    self.claimed_by_others.append(pair)
            self._waiting = [pair for pair in self._waiting if id(pair) not in gone]
            self._there -= gone
            if batch:
                return batch
        return []

    def _first_ready(self, now: float | None) -> Job | None:
        """The first task of the batch that is to be drawn now."""
        if now is None or self._company <= 0:
            return self._waiting[0][1] if self._waiting else None
        seen = set()
        for task, job in self._waiting:
            if job.shape in seen:
                continue
            seen.add(job.shape)
            due, alike = self._arrived(task) + self._company, self._alike(job)
            cut_off = self._in_order and len(alike) < len(self._waiting)  # Another shape follows.
            if now >= due or cut_off or len(alike) >= self.size(job.request):
                return job
            self.due = due if self.due is None else min(due, self.due)
        return None

    def _alike(self, first: Job) -> list[Pair]:
        """Tasks that could share a batch with the first, the best suited first."""
        if self._in_order:
            return list(itertools.takewhile(lambda pair: pair[1].shape == first.shape, self._waiting))
        alike = [pair for pair in self._waiting if pair[1].shape == first.shape]
        # A batch takes as many steps as the longest of its images.
        steps = first.request.steps_run
        return sorted(alike, key=lambda pair: abs((pair[1].request.steps_run) - steps))
