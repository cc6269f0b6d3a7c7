"""A thread that decodes and stores one batch while the next is denoised."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from sdgen.images.image import Image
    from sdgen.pipeline.results import Denoised

Item = TypeVar("Item")
Done = TypeVar("Done")

WAITING = 1
"""Batches that may wait for the thread. More would only keep images from the disk."""


@dataclasses.dataclass(frozen=True)
class Stumble(Generic[Item]):
    """What could not be finished, and why."""

    items: Sequence[Item]
    error: Exception


class Finisher(Generic[Item, Done]):
    """Finishes batches in the order in which they come, an image at a time.

    Args:
        decode: an engine's.
        finish: stores one image; what it returns is a result, and what it raises ends its batch.
    """

    def __init__(
        self, decode: Callable[[Denoised], Iterator[Image]], finish: Callable[[Item, Image], Done]
    ) -> None:
        self._decode, self._finish = decode, finish
        self._batches: queue.Queue[tuple[Sequence[Item], Denoised] | None] = queue.Queue()
        self._results: queue.SimpleQueue[Done | Stumble[Item] | None] = queue.SimpleQueue()
        self._unfinished = 0
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name="sdgen-finisher", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether there are batches whose results were not all taken."""
        return self._unfinished > 0

    @property
    def full(self) -> bool:
        """Whether another batch would have to wait for too long."""
        return self._unfinished > WAITING

    def put(self, items: Sequence[Item], batch: Denoised) -> None:
        """Hand over a batch whose images are those of ``items``."""
        self._unfinished += 1
        self._batches.put((items, batch))

    def results(self, wait: bool = False) -> Iterator[Done | Stumble[Item]]:
        """What has been finished since the last time; with ``wait``, at least the rest of one batch."""
        while self._unfinished:
            try:
                result = self._results.get() if wait else self._results.get_nowait()
            except queue.Empty:
                return
            if result is not None:
                yield result
                continue
            self._unfinished -= 1
            wait = False

    def close(self, finish: bool = True) -> None:
        """End the thread, after it has finished what it has; or with ``finish`` False, after its image."""
        self._abandoned = not finish
        self._batches.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (work := self._batches.get()) is not None:
            items, batch = work
            done = 0
            try:
                for item, image in zip(items, self._decode(batch), strict=True):
                    if self._abandoned:
                        break
                    self._results.put(self._finish(item, image))
                    done += 1
            except Exception as error:
                self._results.put(Stumble(items[done:], error))
            self._results.put(None)
