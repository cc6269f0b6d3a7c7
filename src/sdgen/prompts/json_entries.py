"""JSON and JSONL, with what JSON readers usually let pass: duplicate keys, NaN, numbers without end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from sdgen.prompts import sources
from sdgen.prompts.entries import Entry, Fault, Unusable

MAX_DOCUMENT = 64 * sources.MIB
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
    """JSON: a list of objects and strings, an object with such a list as ``requests``, or one object."""
    text = sources.whole(stream, MAX_DOCUMENT)
    if isinstance(text, Fault):
        yield text
        return
    start = _skip(text, 0)
    if start == len(text):
        return
    try:
        document = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        advice = "; is it JSONL (--input-format jsonl)?" if error.msg == "Extra data" else ""
        place = f"at character {error.colno} of the line"
        yield Fault(error.lineno, f"the file is not JSON: {error.msg} {place}{advice}")
        return
    except RecursionError:
        yield Fault(1, _DEEP)
        return
    line = 1 + text.count("\n", 0, start)
    if isinstance(document, list):
        yield from _elements(text, start, line)
    elif isinstance(document, dict) and "requests" in document:
        for key in document:
            if key != "requests":
                yield Fault(line, f"unknown field {key[:60]!r} beside 'requests'", key)
        if isinstance(document["requests"], list):
            at = _member(text, start, "requests")
            yield from _elements(text, at, line + text.count("\n", start, at))
        else:
            yield Fault(line, "requests must be a list", "requests")
    else:
        yield _entry(line, document)


def _entry(line: int, value: Any) -> Entry | Fault:
    if isinstance(value, dict):
        return Entry(line, value, typed=True)
    if isinstance(value, str):
        return Entry(line, {"prompt": value}, typed=True)
    return Fault(line, "the entry is neither an object nor a string")


# The functions below walk over text that is known to be JSON: decoding alone does not say where things are.


def _elements(text: str, at: int, line: int) -> Iterator[Entry | Fault]:
    """The elements of the list that begins at ``at``, on ``line``."""
    counted = at
    at = _skip(text, at + 1)
    while text[at] != "]":
        line += text.count("\n", counted, at)
        counted = at
        value, end = _DECODER.raw_decode(text, at)
        yield _entry(line, value)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)


def _member(text: str, at: int, name: str) -> int:
    """Where the value of a member begins, in the object that begins at ``at``."""
    while True:
        key, end = _DECODER.raw_decode(text, _skip(text, at + 1))
        value_at = _skip(text, _skip(text, end) + 1)
        if key == name:
            return value_at
        at = _skip(text, _DECODER.raw_decode(text, value_at)[1])


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


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
