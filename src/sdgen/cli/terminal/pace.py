"""How far a run is and how long it will still take, with compiling left out."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Counts steps and images.

    Seconds are measured between two steps of one batch, and from the last step of a batch to the first of
    the next: the shortest such gap is decoding alone, a longer one had a program to compile.

    Args:
        clock: seconds.

    Attributes:
        steps: of the whole run; None where nobody knows.
        images: planned in all, as far as is known.
        finished: images that are done with, those that were there already among them.
        drawn: images that were drawn.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.steps: int | None = 0
        self.images = self.finished = self.drawn = 0
        self._clock = clock
        self._began: float | None = None
        self._settled = 0  # Steps of images that are done with.
        self._waiting: list[int] = []  # Steps of images that are denoised and not done with.
        self._step = self._current = self._furthest = self._batches = self._timed = 0
        self._at = self._step_seconds = 0.0
        self._gap: float | None = None

    def plan(self, steps: int | None, images: int) -> None:
        """Adds ``steps`` that are still to be done; ``images`` is how many there are in all."""
        self.steps = None if steps is None or self.steps is None else self.steps + steps
        self.images = images
        if self._began is None:
            self._began = self._clock()

    def advance(self, step: int, of: int, images: int) -> None:
        """A batch of ``images`` has done ``step`` of its steps."""
        now = self._clock()
        if 0 < self._step < step:
            self._step_seconds += now - self._at
            self._timed += (step - self._step) * images
        elif self._batches:
            gap = (now - self._at) / images - step * (self._each() or 0.0)
            self._gap = max(0.0, gap if self._gap is None else min(gap, self._gap))
        self._at, self._step, self._current = now, step, step * images
        if step >= of:
            self._waiting += [of] * images
            self._step = self._current = 0
            self._batches += 1
        self._furthest = max(self._furthest, self._reached())

    def finish(self, steps: int) -> None:
        """An image, which took ``steps``, is done with."""
        if self._waiting:
            self._waiting.pop(0)
        self._settled += steps
        self.finished += 1
        self.drawn += 1
        self._furthest = max(self._furthest, self._reached())

    def skip(self, steps: int) -> None:
        """An image, which would have taken ``steps``, is there already."""
        self.finished += 1
        if self.steps is not None:
            self.steps -= steps

    @property
    def done(self) -> int:
        """Steps that are done; it never falls, though a batch that was too large is drawn again."""
        return self._furthest if self.steps is None else min(self._furthest, self.steps)

    @property
    def decoding(self) -> bool:
        """Whether a batch is denoised, its images are not done with, and no other batch has begun."""
        return bool(self._waiting) and not self._current

    def seconds_left(self) -> float | None:
        """An estimate; None while there is nothing to estimate by."""
        each = self._each()
        if self.steps is None or (each is None and self._gap is None):
            return None
        steps, images = self.steps - self.done, max(0, self.images - self.finished)
        if not steps and self._gap is None:
            return None  # Only decoding is left, and none was seen yet.
        return steps * (each or 0.0) + images * (self._gap or 0.0)

    def images_a_second(self) -> float | None:
        """Images a second, once two were drawn; the first may have waited for a compiler."""
        seconds = 0.0 if self._began is None else self._clock() - self._began
        return self.drawn / seconds if self.drawn > 1 and seconds > 0 else None

    def _each(self) -> float | None:
        """Seconds of an image's step, where two steps of one batch were seen."""
        return self._step_seconds / self._timed if self._timed else None

    def _reached(self) -> int:
        return self._settled + sum(self._waiting) + self._current
