"""Report: what became of the images of a run, and the exit status that says so."""

from __future__ import annotations

import signal

from sdgen.errors import ExitCode
from sdgen.text.plurals import counted


class Report:
    """Counts images as they finish.

    Attributes:
        planned: images that the run set out to draw.
        drawn: images that are stored.
        kept: images that were there already.
        failed: images that are not, each with a reason that was shown.
        cancelled: images that nobody wants any more.
        invalid: entries of the input that could not be read.
        stopped: the signal that ended the run early, or None.
        ended: the status of the error that ended the run early, or None.
    """

    def __init__(self, planned: int) -> None:
        self.planned = planned
        self.drawn = 0
        self.kept = 0
        self.failed = 0
        self.cancelled = 0
        self.invalid = 0
        self.stopped: signal.Signals | None = None
        self.ended: ExitCode | None = None

    def count(self, status: str) -> None:
        """Count one image; ``status`` is one of ``sdgen.batch.outcomes``."""
        setattr(self, status, getattr(self, status) + 1)

    @property
    def exit_code(self) -> ExitCode:
        """130 or 143 after a signal, else 0 if all are there, 3 if some are, and 1 if none is.

        Where an error ended the run before the first image or after the last, that error's own status.
        """
        if self.stopped is not None:
            terminated = self.stopped == signal.SIGTERM
            return ExitCode.TERMINATED if terminated else ExitCode.INTERRUPTED
        there = self.drawn + self.kept
        if 0 < there < self.planned:
            return ExitCode.SOME_FAILED
        if self.ended is not None:
            return self.ended
        return ExitCode.OK if there == self.planned else ExitCode.NONE_DRAWN

    def summary(self, seconds: float) -> str:
        """One line: ``3 of 4 images drawn, 1 failed, in 12.3 s``."""
        images = counted(self.planned, "image")
        parts = [f"{images} drawn" if self.drawn == self.planned else f"{self.drawn:,} of {images} drawn"]
        if self.kept:
            parts.append(f"{self.kept:,} there already")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.cancelled:
            parts.append(f"{self.cancelled:,} cancelled")
        if self.invalid:
            parts.append(f"{self.invalid:,} invalid")
        left = self.planned - self.drawn - self.kept - self.failed - self.cancelled - self.invalid
        if left:
            parts.append(f"{left:,} not drawn" if self.stopped is None else f"stopped with {left:,} to go")
        return f"{', '.join(parts)}, in {seconds:.1f} s"
