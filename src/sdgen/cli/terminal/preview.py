"""A picture above the progress bar, drawn again in its place as it changes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sdgen.cli.terminal import abilities, graphics, streams
from sdgen.cli.terminal.abilities import Abilities

if TYPE_CHECKING:
    import numpy as np

    Pixels = np.ndarray[Any, np.dtype[np.uint8]]

MOST_LINES = 24
"""The most lines of the terminal that a picture takes."""

_BESIDE = 3
"""Lines that are left to the bar and to what comes before the picture."""

SHARE = 0.03
"""The share of the time that showing pictures may take: the next waits until the last cost no more."""


class Preview:
    """Shows one picture at a time on stderr, whose cursor is on the line below it.

    Args:
        terminal: what it can.
        size: columns and lines of the terminal.
        clock: seconds.
    """

    def __init__(
        self,
        terminal: Abilities,
        size: Callable[[], os.terminal_size] = lambda: os.get_terminal_size(sys.stderr.fileno()),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._terminal, self._size, self._clock = terminal, size, clock
        self._lines = 0
        self._last: Pixels | None = None
        self._due = 0.0

    def due(self) -> bool:
        """Whether it is time for another picture."""
        return self._clock() >= self._due

    def show(self, make: Callable[[], Pixels]) -> None:
        """Show the picture that ``make`` makes, uint8 (height, width, 3), in place of the one before."""
        began = self._clock()
        self._last = make()
        self._draw(self._last)
        ended = self._clock()
        self._due = ended + (ended - began) / SHARE

    def again(self) -> None:
        """Show the last picture again, after ``clear``."""
        if self._last is not None:
            self._draw(self._last)

    def clear(self) -> None:
        """Take the picture away, and leave the cursor where it began."""
        if self._lines:
            gone = graphics.forget_kitty() if self._terminal.way == abilities.KITTY else ""
            streams.draw(f"{gone}\r\x1b[{self._lines}A\x1b[J")
            self._lines = 0

    def end(self) -> None:
        """Take the picture away for good."""
        self.clear()
        self._last = None

    def _draw(self, pixels: Pixels) -> None:
        try:
            columns, lines = self._size()
        except OSError:
            return
        height, width, _ = pixels.shape
        cell = self._terminal.cell or (1, 2)
        lines = min(MOST_LINES, lines - _BESIDE)
        if lines < 1 or columns < 2:
            return
        box = graphics.fitting(width, height, columns - 1, lines, cell)
        if box.lines != self._lines:
            self.clear()
            self._lines = box.lines
            # Makes room: the terminal scrolls where there is none.
            streams.draw("\r\x1b[K" + "\n" * box.lines)
        streams.draw(f"\r\x1b[{box.lines}A{self._shown(pixels, box)}\x1b[{box.lines}B")

    def _shown(self, pixels: Pixels, box: graphics.Box) -> str:
        terminal = self._terminal
        if terminal.way == abilities.KITTY:
            return graphics.kitty(pixels, box)
        if terminal.way == abilities.ITERM2:
            return graphics.iterm2(pixels, box)
        if terminal.way == abilities.SIXEL and terminal.cell is not None:
            return graphics.sixel(pixels, box, terminal.cell)
        return graphics.half_blocks(pixels, box, terminal.true_colour)
