"""Bytes of a prompts file to text, by line or whole, within bounds.

A line ends with LF, CR LF or CR. A byte order mark is left out wherever a line begins, because files are also
made by joining others.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO

from sdgen.prompts.entries import Fault

MIB = 1 << 20
MAX_LINE = MIB
"""Bytes of one line: two prompts of 20,000 characters, each escaped as JSON may do it, and room."""
MAX_SKIPPED = 64 * MIB
"""Bytes of one line that are read to find its end: a device such as /dev/zero has none."""

_CHUNK = 1 << 16
_CONTENT = re.compile(rb"[^\r\n]+")
_MARK = "\ufeff"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NOT_UTF8 = "is not UTF-8; save the file as UTF-8"
_NUL = "the line holds a NUL character; remove it"


def lines(stream: BinaryIO) -> Iterator[tuple[int, str] | Fault]:
    """Numbered lines without their ends, handed on as they come, and a fault for each that is unreadable.

    Empty lines are left out: only the numbers tell of them.
    """
    number = 0
    try:
        for number, data in _split(stream):
            if number == 1 and data.startswith(_UTF16):
                yield Fault(1, f"the file {_NOT_UTF8}")
                return
            yield _line(number, data)
    except OSError as error:
        yield Fault(number + 1, f"the rest cannot be read: {error.strerror}")
    except _NoEndError as error:
        most = MAX_SKIPPED // MIB
        yield Fault(error.line, f"the line is longer than {most} MiB, and the file was not read further")


class _NoEndError(Exception):
    """A line has no end as far as one looks."""

    def __init__(self, line: int) -> None:
        self.line = line


def whole(stream: BinaryIO, most: int) -> str | Fault:
    r"""All of a stream as text whose lines end with ``\n``, or why not. ``most`` is in bytes."""
    try:
        data = stream.read(most + 1)
    except OSError as error:
        return Fault(1, f"the file cannot be read: {error.strerror}")
    if len(data) > most:
        return Fault(1, f"the file is larger than {most // MIB} MiB; JSONL and CSV have no such limit")
    if data.startswith(_UTF16):
        return Fault(1, f"the file {_NOT_UTF8}")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if (at := data.find(b"\0")) >= 0:
        return Fault(data.count(b"\n", 0, at) + 1, _NUL)
    try:
        return data.decode().lstrip(_MARK)
    except UnicodeDecodeError as error:
        at = error.start
        return Fault(data.count(b"\n", 0, at) + 1, f"the line has a byte 0x{data[at]:02x} that {_NOT_UTF8}")


def _line(number: int, data: bytes) -> tuple[int, str] | Fault:
    if len(data) > MAX_LINE:
        return Fault(number, f"the line is longer than {MAX_LINE // MIB} MiB")
    if b"\0" in data:
        return Fault(number, _NUL)
    try:
        return number, data.decode().lstrip(_MARK)
    except UnicodeDecodeError as error:
        return Fault(number, f"byte {error.start + 1} of the line, 0x{data[error.start]:02x}, {_NOT_UTF8}")


def _split(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their ends, save empty ones; of one that is too long a part that is too long."""
    read = getattr(stream, "read1", stream.read)  # Which returns what there is.
    number = 1
    begun = bytearray()
    skipped = 0
    after_cr = False
    while data := read(_CHUNK):
        if after_cr and data.startswith(b"\n"):
            data = data[1:]
        after_cr = data.endswith(b"\r")
        at = 0
        for content in _CONTENT.finditer(data):
            if begun and content.start():
                yield number, bytes(begun)
                begun.clear()
            number += _ends(data, at, content.start())
            at = content.end()
            if at < len(data):
                yield number, bytes(begun) + content[0] if begun else content[0]
                begun.clear()
            elif len(begun) <= MAX_LINE:
                begun += content[0]
                skipped = 0
            else:
                skipped += len(content[0])
                if skipped > MAX_SKIPPED:
                    raise _NoEndError(number)
        if begun and at < len(data):
            yield number, bytes(begun)
            begun.clear()
        number += _ends(data, at, len(data))
    if begun:
        yield number, bytes(begun)


def _ends(data: bytes, start: int, stop: int) -> int:
    """How many lines end in a part of the data."""
    both = data.count(b"\r\n", start, stop)
    return data.count(b"\n", start, stop) + data.count(b"\r", start, stop) - both
