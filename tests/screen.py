"""A terminal's screen, as far as previews need one: cursor, colours, erasing, scrolling."""

from __future__ import annotations

import re

Cell = tuple[str, tuple[int, ...], tuple[int, ...]]
"""A character, its colour and its ground, as SGR has them: (2, r, g, b) or (5, number)."""

_SEQUENCE = re.compile(
    r"\x1b\[([0-9;]*)([A-Za-z])|\x1b([78])|\x1b\]1337;[^\a]*\a|\x1b[_P][^\x1b]*\x1b\\", re.S
)
EMPTY: Cell = (" ", (), ())


class Screen:
    """Feed it text; ``cells`` is what it shows then, ``left`` what it did not understand."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self.columns, self.lines = columns, lines
        self.cells: list[list[Cell]] = [[EMPTY] * columns for _ in range(lines)]
        self.row = self.column = 0
        self._saved = (0, 0)
        self._ink: tuple[int, ...] = ()
        self._ground: tuple[int, ...] = ()
        self.pictures: list[str] = []

    def feed(self, text: str) -> None:
        at = 0
        while at < len(text):
            if match := _SEQUENCE.match(text, at):
                self._obey(match)
                at = match.end()
                continue
            self._put(text[at])
            at += 1

    def text(self) -> list[str]:
        return ["".join(char for char, _, _ in line).rstrip() for line in self.cells]

    def _put(self, char: str) -> None:
        if char == "\r":
            self.column = 0
        elif char == "\n":  # The driver of a terminal makes it a carriage return and a line feed.
            self.column = 0
            if self.row < self.lines - 1:
                self.row += 1
            else:
                self.cells = [*self.cells[1:], [EMPTY] * self.columns]
        else:
            assert char.isprintable(), f"{char!r} is not understood"
            assert self.column < self.columns, "the line is too long"
            self.cells[self.row][self.column] = (char, self._ink, self._ground)
            self.column += 1

    def _obey(self, match: re.Match[str]) -> None:
        values, kind, saving = match[1], match[2], match[3]
        if saving == "7":
            self._saved = self.row, self.column
        elif saving == "8":
            self.row, self.column = self._saved
        elif kind is None:
            self.pictures.append(match[0])
        elif kind == "m":
            self._colour([int(value or 0) for value in values.split(";")])
        elif kind == "A":
            self.row = max(0, self.row - int(values or 1))
        elif kind == "B":
            self.row = min(self.lines - 1, self.row + int(values or 1))
        elif kind == "K":
            self.cells[self.row][self.column :] = [EMPTY] * (self.columns - self.column)
        elif kind == "J":
            self.cells[self.row][self.column :] = [EMPTY] * (self.columns - self.column)
            for line in range(self.row + 1, self.lines):
                self.cells[line] = [EMPTY] * self.columns
        elif kind not in ("t", "c"):  # Questions.
            raise AssertionError(f"{match[0]!r} is not understood")

    def _colour(self, values: list[int]) -> None:
        while values:
            kind = values.pop(0)
            if kind == 0:
                self._ink = self._ground = ()
                continue
            assert kind in (38, 48), f"SGR {kind} is not understood"
            count = 4 if values[0] == 2 else 2
            colour, values = tuple(values[:count]), values[count:]
            if kind == 38:
                self._ink = colour
            else:
                self._ground = colour
