"""Walking over a JSON text a value at a time, with lines; and what JSON readers usually let pass."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from sdgen.prompts import sources
from sdgen.prompts.entries import Unusable
from sdgen.prompts.nodes import List, Map, Node, Scalar, Wrong

MAX_DEPTH = 100
"""Lists and objects inside each other, in ``Walk.node``."""
_WINDOWS = (1 << 10, 1 << 13, 1 << 16, sources.MAX_LINE)
"""Characters that are tried in turn for one value."""
_MARGIN = 16
"""A mistake that is as close to the end of a part may come from its being cut there."""
_MAX_DIGITS = 30
_SPACE = re.compile(r"[ \t\r\n]*")
DEEP = "the JSON is nested too deeply"


class Walk:
    """A place in a JSON text that moves on over its tokens and values.

    Attributes:
        line: where it is, from 1.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = self._counted = 0
        self.line = 1

    def peek(self) -> str:
        """The next character that is no white space, which is not taken; empty at the end."""
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._move(match.end())
        return self._text[self._at : self._at + 1]

    def elements(self) -> Iterator[int]:
        """The lines of the elements of the list that begins here; the caller takes the value of each."""
        for _ in self._items("]", "value"):
            yield self.line

    def members(self) -> Iterator[str]:
        """The keys of the object that begins here; the caller takes the value of each."""
        for first in self._items("}", "property name enclosed in double quotes"):
            if first != '"':
                raise self.wrong("Expecting property name enclosed in double quotes", "")
            key = self.value()
            if self.peek() != ":":
                raise self.wrong("Expecting ':' delimiter", "")
            self._move(self._at + 1)
            self.peek()
            yield key

    def value(self) -> Any:
        """The value that begins here."""
        for size in _WINDOWS:
            # Decoding does not say where a value ends before it has built it, so it is given a part to build.
            window = self._text[self._at : self._at + size]
            cut = self._at + len(window) < len(self._text)
            try:
                value, end = DECODER.raw_decode(window)
            except json.JSONDecodeError as error:
                whole = not cut or (error.pos < size - _MARGIN and not error.msg.startswith("Unterminated"))
                if whole:
                    self._move(self._at + error.pos)
                    raise self.wrong(error.msg, "") from None
                continue
            except RecursionError:
                raise Wrong(self.line, DEEP) from None
            if not cut or end < len(window):  # A number at the end may go on.
                self._move(self._at + end)
                return value
        raise Wrong(self.line, f"the entry is longer than {sources.MAX_LINE:,} characters")

    def node(self, depth: int = 0) -> Node:
        """The value that begins here, with the text that it is written as."""
        if depth > MAX_DEPTH:
            raise Wrong(self.line, DEEP)
        first = self.peek()
        line, start = self.line, self._at
        if first == "[":
            return List(line, None, [self.node(depth + 1) for _ in self.elements()])
        if first == "{":
            items = [node for key in self.members() for node in (_text(self.line, key), self.node(depth + 1))]
            return Map(line, None, items)
        value = self.value()
        text = value if isinstance(value, str) else self._text[start : self._at]
        return _text(line, text) if value is not None else Scalar(line, text, None, merge=False)

    def wrong(self, reason: str, advice: str) -> Wrong:
        """What is raised for a mistake that is here."""
        column = self._at - self._text.rfind("\n", 0, self._at)
        place = f"at character {column} of the line"
        return Wrong(self.line, f"the file is not JSON: {reason} {place}{advice}")

    def _items(self, close: str, what: str) -> Iterator[str]:
        """The first character of each item of the list or object that begins here."""
        self._move(self._at + 1)
        first = self.peek()
        while first != close:
            yield first
            after = self.peek()
            if after == close:
                break
            if after != ",":
                raise self.wrong("Expecting ',' delimiter", "")
            self._move(self._at + 1)
            first = self.peek()
            if first == close:
                raise self.wrong(f"Expecting {what}", "")
        self._move(self._at + 1)

    def _move(self, at: int) -> None:
        self.line += self._text.count("\n", self._counted, at)
        self._counted = self._at = at


def _text(line: int, text: str) -> Scalar:
    return Scalar(line, text, text, merge=False)


def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        members[key] = Unusable("is given twice") if key in members else value
    return members


def _integer(digits: str) -> int | Unusable:
    return (
        int(digits)
        if len(digits) <= _MAX_DIGITS
        else Unusable(f"has {len(digits)} digits; the most is {_MAX_DIGITS}")
    )


def _constant(name: str) -> Unusable:
    return Unusable(f"is {name}, which JSON does not have")


DECODER = json.JSONDecoder(object_pairs_hook=as_object, parse_int=_integer, parse_constant=_constant)
