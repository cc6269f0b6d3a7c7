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
Kind = tuple[int | None, int | None, bool, bool]


def kind(request: Request) -> Kind:
    """What decides how much memory an image takes: height, width, guided or not, fast or not."""
    return request.height, request.width, request.guided, request.fast


class Packer:
    """Tasks that wait to be drawn, and what is drawn next.

    Args:
        limit: how many images of a request's kind to draw at once; asked once a kind.
        claim: makes a task ours, or says that another process draws it.
        in_order: gather only tasks that follow each other.

    Attributes:
        elsewhere: tasks that another process had when it was their turn.
    """

    def __init__(
        self, limit: Callable[[Request], int], claim: Callable[[Task], bool], in_order: bool
    ) -> None:
        self._limit, self._claim, self._in_order = limit, claim, in_order
        self._sizes: dict[Kind, int] = {}
        self._waiting: list[Pair] = []
        self._there: set[int] = set()
        self._alone: deque[Pair] = deque()
        self.elsewhere: list[Pair] = []

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
        """So many were too many; how many to draw at once from now on."""
        self._sizes[kind(request)] = max(1, self.size(request) // 2)
        return self._sizes[kind(request)]

    def pop(self) -> list[Pair]:
        """The next batch, all of it claimed: the task that has waited longest and what goes with it.

        Empty where nothing waits but tasks of other processes.
        """
        if self._alone:
            return [self._alone.popleft()]
        while self._waiting:
            first = self._waiting[0][1]
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
                    self.elsewhere.append(pair)
            self._waiting = [pair for pair in self._waiting if id(pair) not in gone]
            self._there -= gone
            if batch:
                return batch
        return []

    def _alike(self, first: Job) -> list[Pair]:
        """Tasks that could share a batch with the first, the best suited first."""
        if self._in_order:
            return list(itertools.takewhile(lambda pair: pair[1].shape == first.shape, self._waiting))
        alike = [pair for pair in self._waiting if pair[1].shape == first.shape]
        # A batch takes as many steps as the longest of its images.
        steps = first.request.steps or 0
        return sorted(alike, key=lambda pair: abs((pair[1].request.steps or 0) - steps))
