"""How every command that draws begins and ends: signals, stdout, errors, the exit status."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from sdgen.batch.report import Report
from sdgen.cli import error_messages
from sdgen.cli.terminal import interrupts, streams
from sdgen.cli.terminal.progress import Display
from sdgen.errors import OutputError
from sdgen.images.image_files import Output


class Session:
    """One run of a command that draws.

    Args:
        planned: how many images are asked for.
        output: the folder that images go to; None for stdout or nowhere.
        display: messages.

    Attributes:
        report: counts, and the exit status.
        interrupts: takes signals.
        results: the run's stdout, while it draws.
    """

    results: streams.Results

    def __init__(self, planned: int, output: Output | None, display: Display) -> None:
        self.output, self.display = output, display
        self.report = Report(planned)
        self.interrupts = interrupts.Interrupts(self._leave)
        self._started = time.monotonic()

    def stopping(self) -> bool:
        """Whether a signal has come."""
        return self.interrupts.received is not None

    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._started

    def status(self) -> int:
        """The exit status."""
        return self.report.exit_code

    def finish(self) -> None:
        """What is to be done after drawing, unless a signal ended it."""

    def summarise(self) -> None:
        """Say what became of everything."""
        raise NotImplementedError

    def carry_out(self, draw: Callable[[], None]) -> int:
        """Draw, and say in the end what became of it; the exit status."""
        with interrupts.watched(self.interrupts), streams.results() as self.results:
            try:
                draw()
            except streams.ClosedPipe:
                return streams.CLOSED_PIPE
            except Exception as error:
                sentence, self.report.ended = error_messages.explain(error)
                self.display.stop()
                self.display.error(sentence)
            finally:
                self.display.stop()
            self.report.stopped = self.interrupts.received
            if self.report.stopped is None:
                self.finish()
            try:
                self.summarise()
            except streams.ClosedPipe:
                return streams.CLOSED_PIPE
            except OutputError as error:  # Of stdout, which may have ended the drawing, too.
                if self.report.ended is None:
                    self.report.ended = error.exit_code
                    self.display.error(str(error))
            return self.status()

    def _leave(self, number: signal.Signals) -> None:
        self.report.stopped = number
        if self.output is not None:
            self.output.abandon()
        self.display.stop()
        try:
            self.summarise()
        finally:  # The reader of stdout may have got the same signal, and be gone.
            interrupts.leave(self.report.exit_code)
