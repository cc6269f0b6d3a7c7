"""How far a run is, on stderr: a bar on a terminal, short lines elsewhere, nothing with --quiet."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class Display:
    """Messages of a run that people read.

    Args:
        quiet: show errors alone.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: tqdm[None] | None = None
        self._steps = 0
        self._finished = 0
        self._images = 0
        self._planned = 0
        self._said = 0.0

    def start(self, steps: int, images: int) -> None:
        """Drawing begins: ``steps`` in all, summed over ``images``."""
        self._steps, self._planned, self._said = steps, images, time.monotonic()
        if not self.quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                desc="compiling", total=steps, unit="step", leave=False, dynamic_ncols=True, file=sys.stderr
            )
            self._show(0)

    def advance(self, step: int, of: int, images: int) -> None:
        """The current batch of ``images`` has done ``step`` steps of ``of``."""
        self._show(min(self._finished + step * images, self._steps))
        if self._bar is None and time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self.say(f"step {step} of {of}, image {self._images + 1} of {self._planned}")
            self._said = time.monotonic()

    def finish_image(self, steps: int) -> None:
        """One image, which took ``steps``, is done with."""
        self._finished += steps
        self._images += 1
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

    def _show(self, steps: int) -> None:
        if self._bar is not None:
            self._bar.n = steps
            if steps:
                self._bar.set_description_str("drawing", refresh=False)
            self._bar.set_postfix_str(f"{self._images}/{self._planned} images")

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
            click.echo(text, err=True)
