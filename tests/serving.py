"""What tests of the server share: an engine that waits to be allowed on, and calls that are waited for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import stand_in
from stand_in import Denoised, Job, Progress

from sdgen.pipeline.watching import Watch
from sdgen.request import Request
from sdgen.serve.drawing import Drawn, Event, Failed, Stepped

PATIENCE = 20
"""Seconds after which what should have come has not."""


class Held(stand_in.Pipeline):
    """Waits at the first step of each batch for a permit, and draws up to four images at once.

    With ``hold_again`` set it waits at the second step, too.

    Attributes:
        batches: the seeds of each batch, and for how many images its program was.
        requests: all that were drawn.
    """

    def __init__(self, held: bool = True) -> None:
        self.drawing: threading.Semaphore = threading.Semaphore(0)
        self.permits: threading.Semaphore = threading.Semaphore(0 if held else 1_000_000)
        self.batches: list[tuple[list[int], int]] = []
        self.requests: list[Request] = []
        self.hold_again = False
        self.steps = 0

    def batch_limit(self, asked: int | None = None) -> int:
        return asked or 4

    def draw(
        self, jobs: Sequence[Job], size: int, jit: bool, watch: Watch | None = None
    ) -> Iterator[Progress | Denoised]:
        self.requests += [job.request for job in jobs]
        self.batches.append(([job.request.seed for job in jobs], size))
        for event in super().draw(jobs, size, jit, watch):
            if isinstance(event, Progress):
                self.steps += 1
                if event.step == 1 or (event.step == 2 and self.hold_again):
                    self.drawing.release()
                    assert self.permits.acquire(timeout=PATIENCE)
            yield event

    def began(self) -> None:
        """Waits until one more batch is between two steps."""
        assert self.drawing.acquire(timeout=PATIENCE)


class Told:
    """A listener: what it was told, and the end of it awaited."""

    def __init__(self, pictures: int = 1) -> None:
        self.events: list[Event] = []
        self._ends: queue.Queue[Event] = queue.Queue()
        self._pictures = pictures

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if not isinstance(event, Stepped):
            self._ends.put(event)

    def ends(self) -> list[Drawn | Failed]:
        """How each picture ended, in the order of the call."""
        found: list[Any] = [self._ends.get(timeout=PATIENCE) for _ in range(self._pictures)]
        return sorted(found, key=lambda event: event.picture)

    def steps(self) -> list[Stepped]:
        return [event for event in self.events if isinstance(event, Stepped)]


def request(
    seed: int = 1, prompt: str = "fox", width: int = 64, model: str = "mini", **fields: Any
) -> Request:
    return Request(prompt=prompt, seed=seed, width=width, height=64, model=model, **fields)
