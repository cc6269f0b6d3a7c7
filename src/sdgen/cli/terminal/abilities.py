"""What the terminal on stderr can show: asked of its environment, and of the terminal itself."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import select
import sys
import time
from collections.abc import Iterator, Mapping

from sdgen.cli.terminal import streams

KITTY, ITERM2, SIXEL, BLOCKS = "kitty", "iterm2", "sixel", "blocks"
"""Ways of showing a picture, see ``graphics``."""

SECONDS = 1.0
"""How many seconds a terminal's answer is waited for. Terminals in use answer at once, over a network too."""

_TRUE_COLOUR_PROGRAMS = ("iTerm.app", "WezTerm", "ghostty", "vscode")
_QUESTION = "\x1b[16t\x1b[c"
"""XTWINOPS for the size of a cell, then primary device attributes, which every terminal answers."""

_ATTRIBUTES = re.compile(rb"\x1b\[\?([0-9;]*)c")
_CELL = re.compile(rb"\x1b\[6;([0-9]{1,4});([0-9]{1,4})t")
_MOST_ANSWER = 4096


@dataclasses.dataclass(frozen=True)
class Abilities:
    """How pictures are shown.

    Attributes:
        way: ``KITTY``, ``ITERM2``, ``SIXEL`` or ``BLOCKS``.
        true_colour: whether text may have 24 bits a colour.
        cell: width and height of a character's cell in pixels, where the terminal says them.
    """

    way: str = BLOCKS
    true_colour: bool = False
    cell: tuple[int, int] | None = None


def obstacle() -> str | None:
    """Why no picture can be shown on stderr, or None."""
    if not sys.stderr.isatty():
        return "stderr is no terminal"
    if os.environ.get("TERM", "dumb") in ("", "dumb", "unknown"):
        return "the terminal cannot move its cursor (TERM is dumb)"
    try:
        "▀".encode(sys.stderr.encoding)
    except UnicodeError:
        return f"the terminal's text is in {sys.stderr.encoding}, which has no half blocks"
    return None


def found() -> Abilities:
    """What the terminal on stderr can, where there is no ``obstacle``."""
    environment = os.environ
    known = of_environment(environment)
    if known.way != BLOCKS:
        return known
    return of_answer(_ask(), known)


def of_environment(environment: Mapping[str, str]) -> Abilities:
    """What the environment tells; within tmux or screen it tells of another terminal, and is not believed."""
    kind, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    true_colour = environment.get("COLORTERM") in ("truecolor", "24bit") or kind.endswith("-direct")
    if environment.get("TMUX") or environment.get("STY") or kind.startswith(("tmux", "screen")):
        return Abilities(BLOCKS, true_colour)
    if kind in ("xterm-kitty", "xterm-ghostty") or environment.get("KITTY_WINDOW_ID"):
        return Abilities(KITTY, True)
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return Abilities(ITERM2, True)
    return Abilities(BLOCKS, true_colour or program in _TRUE_COLOUR_PROGRAMS)


def of_answer(answer: bytes, known: Abilities) -> Abilities:
    """What a terminal's own answer adds: sixels, which are of use where the size of a cell is known."""
    attributes, cell = _ATTRIBUTES.search(answer), _CELL.search(answer)
    if attributes and cell and b"4" in attributes[1].split(b";"):
        height, width = int(cell[1]), int(cell[2])
        if 1 <= width <= 256 and 6 <= height <= 256:
            return Abilities(SIXEL, known.true_colour, (width, height))
    return known


def _ask() -> bytes:
    """What the terminal answers; nothing where it does not, or may not be asked."""
    try:
        number = sys.stderr.fileno()
        # A process in the background would be stopped.
        if os.tcgetpgrp(number) != os.getpgrp():
            return b""
        terminal = os.open(os.ttyname(number), os.O_RDWR | os.O_NOCTTY)
    except (OSError, ValueError):
        return b""
    try:
        with _raw(terminal):
            streams.draw(_QUESTION)
            return _answer(terminal, time.monotonic() + SECONDS)
    except OSError:
        return b""
    finally:
        os.close(terminal)


def _answer(terminal: int, until: float) -> bytes:
    answer = b""
    while len(answer) < _MOST_ANSWER and not _ATTRIBUTES.search(answer):
        left = until - time.monotonic()
        if left <= 0 or not select.select([terminal], [], [], left)[0]:
            break
        if not (more := os.read(terminal, 256)):
            break
        answer += more
    return answer


@contextlib.contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """Has a terminal hand over every byte as it comes, without showing it."""
    import termios

    try:
        before = termios.tcgetattr(terminal)
        without = [*before]
        without[3] &= ~(termios.ECHO | termios.ICANON)
        termios.tcsetattr(terminal, termios.TCSADRAIN, without)
    except termios.error as error:
        raise OSError(*error.args) from error
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
