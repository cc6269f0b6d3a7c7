"""From a prompts file or stream to lines, by format."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from sdgen.errors import InputError
from sdgen.prompts import fields, json_entries, sources, tables, text
from sdgen.prompts.entries import Entry, Fault, Line, Problem

FORMATS: Mapping[str, str] = {
    "text": "a prompt a line; # begins a comment, -- a line of flags",
    "jsonl": "a JSON object or string a line",
    "json": 'a list of objects and strings, or {"requests": [...]}',
    "csv": "a header of field names, then a request a row",
    "tsv": "as csv, with tabs",
    "yaml": "a list of maps and strings",
}
"""Format names with a line about each."""

_ENDINGS: Mapping[str, str] = {
    ".txt": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".yaml": "yaml",
    ".yml": "yaml",
}
_Entries = Iterator[Entry | Fault]


def read(
    source: str | os.PathLike[str] | BinaryIO,
    format: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    takes_prompts: Callable[[str | None], bool] = lambda model: True,
) -> Iterator[Line]:
    """The entries of a prompts file, in order.

    A stream (``sys.stdin.buffer``) of text, JSONL, CSV or TSV is read a line at a time: an entry is handed on
    before the next line is asked for. JSON and YAML are read whole.

    Args:
        source: a path, or a binary stream, which is left open and called ``stdin``.
        format: a name of ``FORMATS``; None goes by the file's ending. A stream or a file without an ending is
            JSONL where its first line is a JSON object, else text.
        defaults: fields of ``Request`` (its names, valid values) for what an entry leaves out; what the entry
            says wins.
        takes_prompts: whether the model of a name does; an entry for one that does not need not have any.

    Yields:
        A ``Line`` for each entry, and for each place that cannot be read as one.

    Raises:
        InputError: at the call: there is no such file, it cannot be opened, or its format is unknown.
    """
    defaults = defaults or {}
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        format = format or _format_of(path)
        try:
            stream: BinaryIO = open(path, "rb")  # noqa: SIM115 (closed by _lines)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise InputError(f"the prompts file {path!r} cannot be opened: {reason}") from None
        entries = _READERS[format or "unknown"](stream)
        return _lines(entries, path, defaults, takes_prompts, stream, os.path.dirname(path))
    entries = _READERS[format or "unknown"](source)
    return _lines(entries, "stdin", defaults, takes_prompts, contextlib.nullcontext())


def _format_of(path: str) -> str | None:
    ending = Path(path).suffix.lower()
    if ending and ending not in _ENDINGS:
        raise InputError(
            f"the ending of {path!r} names no format; give one with --input-format: {', '.join(FORMATS)}",
            "format",
        )
    return _ENDINGS.get(ending)


def _lines(
    entries: _Entries,
    file: str,
    defaults: Mapping[str, Any],
    takes_prompts: Callable[[str | None], bool],
    opened: contextlib.AbstractContextManager[Any],
    folder: str = "",
) -> Iterator[Line]:
    spelling = fields.Spelling()
    told: set[Problem] = set()
    with opened:
        for entry in entries:
            if isinstance(entry, Fault):
                problem = Problem(file, entry.line, entry.field, entry.message)
                yield Line(file, entry.line, None, None, (problem,))
                continue
            line = fields.line_of(entry, file, defaults, takes_prompts, spelling, folder)
            if entry.lines and line.problems:
                yield _told_once(line, told)
            else:
                yield line


def _told_once(line: Line, told: set[Problem]) -> Line:
    """The entry without problems that were already told of another entry with the same field."""
    new = tuple(problem for problem in line.problems if problem not in told)
    told.update(new)
    if not new:
        shared = f"the entry takes over what is wrong on line {line.problems[0].line}"
        new = (Problem(line.file, line.line, None, shared),)
    return dataclasses.replace(line, problems=new)


def _text_or_jsonl(stream: BinaryIO) -> _Entries:
    lines = sources.lines(stream)
    for item in lines:
        if isinstance(item, Fault):
            yield item
        elif first := item[1].strip():
            break
    else:
        return
    if first in ("[", "{") or first.startswith(("[{", '["')):
        yield Fault(item[0], "this looks like a JSON document; read it with --input-format json")
        return
    reader = json_entries.line_entries if first.startswith('{"') else text.entries
    yield from reader(itertools.chain([item], lines))


def _yaml(stream: BinaryIO) -> _Entries:
    from sdgen.prompts import yaml_entries

    return yaml_entries.entries(stream)


_READERS: Mapping[str, Callable[[BinaryIO], _Entries]] = {
    "text": lambda stream: text.entries(sources.lines(stream)),
    "jsonl": lambda stream: json_entries.line_entries(sources.lines(stream)),
    "json": json_entries.document_entries,
    "csv": lambda stream: tables.entries(sources.lines(stream), ","),
    "tsv": lambda stream: tables.entries(sources.lines(stream), "\t"),
    "yaml": _yaml,
    "unknown": _text_or_jsonl,
}
