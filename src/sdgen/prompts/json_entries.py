"""JSON and JSONL, with what JSON readers usually let pass: duplicate keys, NaN, numbers without end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from sdgen.prompts import sources
from sdgen.prompts.entries import Entry, Fault, Unusable

MAX_DOCUMENT = 64 * sources.MIB
MAX_MEMBERS = 1000
"""Members of the outermost object, beside ``requests``."""

_WINDOWS = (1 << 10, 1 << 13, 1 << 16, sources.MAX_LINE)
"""Characters that are tried in turn for one value."""
_MARGIN = 16
"""A mistake that is as close to the end of a part may come from its being cut there."""
_MAX_DIGITS = 30
_SPACE = re.compile(r"[ \t\r\n]*")
_DEEP = "the JSON is nested too deeply"


def line_entries(lines: Iterable[tuple[int, str] | Fault]) -> Iterator[Entry | Fault]:
    """JSONL: an object or a string on each line that is not blank."""
    for item in lines:
        if isinstance(item, Fault):
            yield item
        elif text := item[1].strip():
            try:
                yield _entry(item[0], _DECODER.decode(text))
            except json.JSONDecodeError as error:
                yield Fault(item[0], f"the line is not JSON: {error.msg} at character {error.pos + 1}")
            except RecursionError:
                yield Fault(item[0], _DEEP)


def document_entries(stream: BinaryIO) -> Iterator[Entry | Fault]:
    """JSON: a list of objects and strings, an object with such a list as ``requests``, or one object.

    The text is read an element at a time, so that a few bytes for each of millions of elements fill no
    memory. What comes before a mistake is handed on.
    """
    text = sources.whole(stream, MAX_DOCUMENT)
    if isinstance(text, Fault):
        yield text
        return
    walk = _Walk(text)
    try:
        first = walk.peek()
        if first == "[":
            yield from walk.elements()
        elif first == "{":
            yield from _root_object(walk)
        elif first:
            yield _entry(walk.line, walk.value())
        if walk.peek():
            raise walk.wrong("Extra data", "; is it JSONL (--input-format jsonl)?")
    except _Wrong as wrong:
        yield wrong.fault


def _root_object(walk: _Walk) -> Iterator[Entry | Fault]:
    """An object with ``requests``, or one that is an entry itself."""
    line = walk.line
    beside: list[tuple[str, Any]] = []
    found = False
    for key in walk.members():
        if key == "requests" and not found:
            found = True
            if walk.peek() == "[":
                yield from walk.elements()
            else:
                yield Fault(walk.line, "requests must be a list", "requests")
                walk.value()
        elif len(beside) < MAX_MEMBERS:
            beside.append((key, walk.value()))
        else:
            raise walk.wrong(f"it has more than {MAX_MEMBERS:,} members", "")
    if not found:
        yield _entry(line, _object(beside))
    else:
        for key, _ in beside:
            yield Fault(line, f"unknown field {key[:60]!r} beside 'requests'", key)


def _entry(line: int, value: Any) -> Entry | Fault:
    if isinstance(value, dict):
        return Entry(line, value, typed=True)
    if isinstance(value, str):
        return Entry(line, {"prompt": value}, typed=True)
    return Fault(line, "the entry is neither an object nor a string")


class _Wrong(Exception):
    """The document cannot be read further."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class _Walk:
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

    def elements(self) -> Iterator[Entry | Fault]:
        """The elements of the list that begins here."""
        for _ in self._items("]", "value"):
            line = self.line
            yield _entry(line, self.value())

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
                value, end = _DECODER.raw_decode(window)
            except json.JSONDecodeError as error:
                whole = not cut or (error.pos < size - _MARGIN and not error.msg.startswith("Unterminated"))
                if whole:
                    self._move(self._at + error.pos)
                    raise self.wrong(error.msg, "") from None
                continue
            except RecursionError:
                raise _Wrong(Fault(self.line, _DEEP)) from None
            if not cut or end < len(window):  # A number at the end may go on.
                self._move(self._at + end)
                return value
        raise _Wrong(Fault(self.line, f"the entry is longer than {sources.MAX_LINE:,} characters"))

    def wrong(self, reason: str, advice: str) -> _Wrong:
        """What is raised for a mistake that is here."""
        column = self._at - self._text.rfind("\n", 0, self._at)
        place = f"at character {column} of the line"
        return _Wrong(Fault(self.line, f"the file is not JSON: {reason} {place}{advice}"))

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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
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


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant)
