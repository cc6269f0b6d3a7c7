"""JSON and JSONL, with what JSON readers usually let pass: duplicate keys, NaN, numbers without end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from sdgen.prompts import sources
from sdgen.prompts.entries import Entry, Fault
from sdgen.prompts.json_walk import DECODER, DEEP, Walk, as_object
from sdgen.prompts.nodes import Wrong

MAX_DOCUMENT = 64 * sources.MIB
MAX_MEMBERS = 1000
"""Members of the outermost object, beside ``requests``."""


def line_entries(lines: Iterable[tuple[int, str] | Fault]) -> Iterator[Entry | Fault]:
    """JSONL: an object or a string on each line that is not blank."""
    for item in lines:
        if isinstance(item, Fault):
            yield item
        elif text := item[1].strip():
            try:
                yield _entry(item[0], DECODER.decode(text))
            except json.JSONDecodeError as error:
                yield Fault(item[0], f"the line is not JSON: {error.msg} at character {error.pos + 1}")
            except RecursionError:
                yield Fault(item[0], DEEP)


def document_entries(stream: BinaryIO) -> Iterator[Entry | Fault]:
    """JSON: a list of objects and strings, an object with such a list as ``requests``, or one object.

    The text is read an element at a time, so that a few bytes for each of millions of elements fill no
    memory. What comes before a mistake is handed on.
    """
    text = sources.whole(stream, MAX_DOCUMENT)
    if isinstance(text, Fault):
        yield text
        return
    walk = Walk(text)
    try:
        first = walk.peek()
        if first == "[":
            yield from _elements(walk)
        elif first == "{":
            yield from _rootas_object(walk)
        elif first:
            yield _entry(walk.line, walk.value())
        if walk.peek():
            raise walk.wrong("Extra data", "; is it JSONL (--input-format jsonl)?")
    except Wrong as wrong:
        yield wrong.fault


def _rootas_object(walk: Walk) -> Iterator[Entry | Fault]:
    """An object with ``requests``, or one that is an entry itself."""
    line = walk.line
    beside: list[tuple[str, Any]] = []
    found = False
    for key in walk.members():
        if key == "requests" and not found:
            found = True
            if walk.peek() == "[":
                yield from _elements(walk)
            else:
                yield Fault(walk.line, "requests must be a list", "requests")
                walk.value()
        elif len(beside) < MAX_MEMBERS:
            beside.append((key, walk.value()))
        else:
            raise walk.wrong(f"it has more than {MAX_MEMBERS:,} members", "")
    if not found:
        yield _entry(line, as_object(beside))
    else:
        for key, _ in beside:
            yield Fault(line, f"unknown field {key[:60]!r} beside 'requests'", key)


def _elements(walk: Walk) -> Iterator[Entry | Fault]:
    """The elements of the list that begins here."""
    for line in walk.elements():
        yield _entry(line, walk.value())


def _entry(line: int, value: Any) -> Entry | Fault:
    if isinstance(value, dict):
        return Entry(line, value, typed=True)
    if isinstance(value, str):
        return Entry(line, {"prompt": value}, typed=True)
    return Fault(line, "the entry is neither an object nor a string")
