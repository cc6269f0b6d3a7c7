"""What a run is doing, on stderr: a bar on a terminal, short lines elsewhere, nothing with --quiet."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sdgen.cli.terminal import streams
from sdgen.cli.terminal.pace import Pace
from sdgen.text.printable import printable

if TYPE_CHECKING:
    import numpy as np
    from tqdm import tqdm

    from sdgen.cli.terminal.preview import Preview

    Pixels = np.ndarray[Any, np.dtype[np.uint8]]

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_BETWEEN_SHOWS = 0.1

LOADING, COMPILING, DRAWING, DECODING = "loading", "compiling", "drawing", "decoding"
"""What a run does, in this order; what is compiled may also be read from the disk."""


class Display:
    """Messages of a run that people read.

    Args:
        quiet: show errors alone.
        preview: shows a picture above the bar as it forms.
    """

    wants_bar = True

    def __init__(self, quiet: bool = False, preview: Preview | None = None) -> None:
        self.quiet = quiet
        self._preview = preview
        self.pace = Pace()
        self._phase, self._subject, self._phase_began = "", "", 0.0
        self._bar: tqdm[None] | None = None
        self._ended: threading.Event | None = None
        self._aside = False
        self._said = self._shown = 0.0

    @property
    def previews(self) -> bool:
        """Whether pictures are shown as they form."""
        return self._preview is not None

    def loading(self, model: str) -> None:
        """A model is being loaded."""
        self._begin(LOADING, model)

    def start(self, steps: int | None, images: int) -> None:
        """Drawing begins, or goes on with another model, which has ``steps`` to do; None if nobody knows.

        Args:
            steps: summed over the images that are to come.
            images: those of the whole run.
        """
        self.pace.plan(steps, images)
        if self.pace.steps == 0:  # A filter's: there is nothing to compile.
            self._begin(DRAWING)
        else:
            self.loaded()

    def loaded(self) -> None:
        """A model is loaded; its first step will need a program."""
        self._begin(COMPILING)

    def planned(self, images: int) -> None:
        """Takes note that there are ``images`` in all, as far as is known."""
        self.pace.images = images

    def advance(self, step: int, of: int, images: int) -> None:
        """The current batch of ``images`` has done ``step`` steps of ``of``."""
        self.pace.advance(step, of, images)
        self._go_on()
        if self.wants_bar and self._bar is None and time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self.say(
                f"step {step} of {of}, image {self.pace.finished + 1} of {self.pace.images}{self._rate()}"
            )
            self._said = time.monotonic()

    def finish_image(self, steps: int) -> None:
        """Counts an image as done, which took ``steps``."""
        self.pace.finish(steps)
        self._go_on()

    def skip_image(self, steps: int) -> None:
        """Counts an image as there already, which would have taken ``steps``."""
        self.pace.skip(steps)
        self._show()

    def stop(self) -> None:
        """Take the bar away."""
        if self._ended is not None:
            self._ended.set()
            self._ended = None
        bar, self._bar = self._bar, None
        if bar is not None:
            with bar.get_lock():
                bar.close()
                if self._preview is not None:
                    self._preview.end()

    def picture(self, make: Callable[[], Pixels]) -> None:
        """Show a picture as far as it is, uint8 (height, width, 3); computed only when it is time for one."""
        bar, preview = self._bar, self._preview
        if bar is not None and preview is not None and not self._aside and preview.due():
            with bar.get_lock():  # The bar is drawn by another thread, too.
                preview.show(make)
                bar.refresh()

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

    def _begin(self, phase: str, subject: str = "") -> None:
        """Show another phase; without a bar, a line says what it is about."""
        self._phase, self._subject, self._phase_began = phase, subject, time.monotonic()
        self._said, self._shown = self._phase_began, 0.0
        if self.quiet or not self.wants_bar:
            return
        if self._bar is None and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(leave=False, dynamic_ncols=True, file=sys.stderr, bar_format="{desc}")
        elif self._bar is None and subject:
            self.say(f"{phase} {subject}")
        if self._ended is None:
            self._ended = threading.Event()
            threading.Thread(target=self._look, args=(self._ended,), daemon=True).start()
        self._show()

    def _look(self, ended: threading.Event) -> None:
        """In a thread: show that time passes while a library loads or compiles."""
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            if self._bar is not None:
                self._draw_bar()
            elif self._waits() and time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
                self._said = time.monotonic()
                self.say(f"{self._phase}, {self._said - self._phase_began:.0f} s so far")

    def _waits(self) -> bool:
        return self._phase in (LOADING, COMPILING)

    def _go_on(self) -> None:
        """A step or an image is done."""
        phase, self._phase = self._phase, DECODING if self.pace.decoding else DRAWING
        if phase != self._phase:
            self._shown = 0.0
        self._show()

    def _show(self) -> None:
        """Show what has changed, unless that was done a moment ago."""
        now = time.monotonic()
        if self._bar is not None and now - self._shown >= _SECONDS_BETWEEN_SHOWS:
            self._shown = now
            self._draw_bar()

    def _draw_bar(self) -> None:
        bar, pace = self._bar, self.pace
        if bar is None or self._aside:
            return
        if self._waits():
            seconds = time.monotonic() - self._phase_began
            bar.bar_format = _plain(f"{' '.join([self._phase, self._subject]).strip()}, {seconds:.0f} s")
        elif pace.steps == 0:  # A filter takes none.
            bar.bar_format = _plain(f"{self._phase}, {pace.finished}/{pace.images} images{self._rate()}")
        elif pace.steps:
            share = f"{100 * pace.done // pace.steps:3}%"
            bar.n, bar.total = pace.done, pace.steps
            bar.bar_format = f"{self._phase} {share}|{{bar}}| {_plain(self._state())}"
        else:
            bar.bar_format = _plain(f"{self._phase}, {self._state()}{self._rate()}")
        bar.refresh()

    def _state(self) -> str:
        """``50/100 steps, 2/4 images, 0:27 left``."""
        pace, left = self.pace, self.pace.seconds_left()
        steps = f"{pace.done}/{pace.steps}" if pace.steps else str(pace.done)
        parts = [f"{steps} steps", f"{pace.finished}/{pace.images} images"]
        if left is not None:
            parts.append(f"{_clock(left)} left")
        return ", ".join(parts)

    def _rate(self) -> str:
        rate = self.pace.images_a_second()
        return f", {rate:.2f} images/s" if rate is not None else ""

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Take the bar off the terminal while something else is written to it."""
        bar = self._bar
        if bar is not None:
            self._aside = True
            with bar.get_lock():
                bar.clear()
                if self._preview is not None:
                    self._preview.clear()
        yield
        self._aside = False
        if bar is not None and self._preview is not None:
            with bar.get_lock():
                self._preview.again()
        self._draw_bar()

    def _line(self, text: str) -> None:
        with self.aside():
            streams.tell(text)


class JsonDisplay(Display):
    """A run's progress for programs: a JSON object a line on stderr, whose ``event`` says what it tells."""

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

    def loading(self, model: str) -> None:
        """A model is being loaded."""
        super().loading(model)
        self.say(f"{LOADING} {model}")
        self._show()

    def loaded(self) -> None:
        """A model is loaded."""
        super().loaded()
        self._show()

    def _show(self) -> None:
        super()._show()
        pace = self.pace
        rate, left = pace.images_a_second(), pace.seconds_left()
        self._emit(
            "progress",
            phase=self._phase,
            step=pace.done,
            steps=pace.steps,
            done=pace.finished,
            images=pace.images,
            images_per_second=None if rate is None else round(rate, 3),
            seconds_left=None if left is None else round(left, 1),
        )

    def _emit(self, event: str, **values: object) -> None:
        if event == "error" or not self.quiet:
            streams.tell(json.dumps({"event": event, **values}))


def _clock(seconds: float) -> str:
    """``0:07``, ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _plain(text: str) -> str:
    """Text that tqdm shows as it is."""
    return printable(text).replace("{", "{{").replace("}", "}}")
