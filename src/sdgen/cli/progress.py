"""How far a run is, on stderr: a bar on a terminal, short lines elsewhere, nothing with --quiet."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from sdgen.cli import streams

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class Display:
    """Messages of a run that people read.

    Args:
        quiet: show errors alone.
    """

    wants_bar = True

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: tqdm[None] | None = None
        self._steps: int | None = 0
        self._finished = 0
        self._images = 0
        self._drawn = 0
        self._began = 0.0
        self._planned = 0
        self._said = 0.0

    def start(self, steps: int | None, images: int) -> None:
        """Drawing begins, or goes on with another model, which has ``steps`` to do; None if nobody knows.

        Args:
            steps: summed over the images that are to come.
            images: those of the whole run.
        """
        self._steps = None if steps is None or self._steps is None else self._steps + steps
        self._planned, self._said = images, time.monotonic()
        self._began = self._began or self._said
        if self.wants_bar and not self.quiet and sys.stderr.isatty():
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(
                    desc="compiling", unit="step", leave=False, dynamic_ncols=True, file=sys.stderr
                )
            self._bar.total = self._steps
            self._show(self._finished)

    def planned(self, images: int) -> None:
        """There are ``images`` in all, as far as is known."""
        self._planned = images

    def advance(self, step: int, of: int, images: int) -> None:
        """The current batch of ``images`` has done ``step`` steps of ``of``."""
        steps = self._finished + step * images
        self._show(steps if self._steps is None else min(steps, self._steps))
        if self.wants_bar and self._bar is None and time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self.say(f"step {step} of {of}, image {self._images + 1} of {self._planned}{self._rate()}")
            self._said = time.monotonic()

    def finish_image(self, steps: int) -> None:
        """One image, which took ``steps``, is done with."""
        self._finished += steps
        self._images += 1
        self._drawn += 1
        self._show(self._finished)

    def skip_image(self, steps: int) -> None:
        """One image, which would have taken ``steps``, is there already."""
        self._images += 1
        if self._steps is not None:
            self._steps -= steps
            if self._bar is not None:
                self._bar.total = self._steps
        self._show(self._finished)

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def say(self, text: str) -> None:
        """A line for whoever follows the run."""
        if not self.quiet:
            self._line(text)

    def warn(self, text: str) -> None:
        """Something about the images that their owner should know."""
        self.say(f"warning: {text}")

    def error(self, text: str) -> None:
        """Something that went wrong; shown even with --quiet."""
        self._line(f"error: {text}")

    def summary(self, counts: Mapping[str, object]) -> None:
        """What became of a run, for programs: a JSON object on a line of its own."""
        self.say(json.dumps({"status": "summary", **counts}))

    def _show(self, steps: int) -> None:
        if self._bar is not None:
            self._bar.n = steps
            if steps:
                self._bar.set_description_str("drawing", refresh=False)
            self._bar.set_postfix_str(f"{self._images}/{self._planned} images{self._rate()}")

    def _rate(self) -> str:
        """Images a second, once two were drawn; the first may have waited for a compiler."""
        seconds = time.monotonic() - self._began
        return f", {self._drawn / seconds:.2f} images/s" if self._drawn > 1 and seconds > 0 else ""

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bar off the terminal while something else is written to it."""
        if self._bar is not None:
            self._bar.clear()
        yield
        if self._bar is not None:
            self._bar.refresh()

    def _line(self, text: str) -> None:
        with self.aside():
            streams.tell(text)


class JsonDisplay(Display):
    """The same for programs: on stderr, a JSON object a line, ``event`` says of what."""

    wants_bar = False

    def warn(self, text: str) -> None:
        """Something about the images."""
        self._emit("warning", text=text)

    def error(self, text: str) -> None:
        """Something that went wrong."""
        self._emit("error", text=text)

    def summary(self, counts: Mapping[str, object]) -> None:
        """What became of a run."""
        self._emit("summary", **counts)

    def _line(self, text: str) -> None:
        self._emit("message", text=text)

    def _show(self, steps: int) -> None:
        seconds = time.monotonic() - self._began
        rate = steps / seconds if self._began and seconds > 0 else 0
        left = (self._steps - steps) / rate if rate and self._steps is not None else None
        self._emit(
            "progress",
            step=steps,
            steps=self._steps,
            done=self._images,
            images=self._planned,
            images_per_second=round(self._drawn / seconds, 3) if self._drawn and seconds > 0 else None,
            seconds_left=None if left is None else round(left, 1),
        )

    def _emit(self, event: str, **values: object) -> None:
        if event == "error" or not self.quiet:
            streams.tell(json.dumps({"event": event, **values}))
