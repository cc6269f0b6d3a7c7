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

_CHUNK = 1 << 16
_END = re.compile(rb"\r\n?|\n")
_MARK = "\ufeff"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NOT_UTF8 = "is not UTF-8; save the file as UTF-8"
_NUL = "the line holds a NUL character; remove it"


def lines(stream: BinaryIO) -> Iterator[tuple[int, str] | Fault]:
    """Numbered lines without their ends, handed on as they come, and a fault for each that is unreadable."""
    number = 0
    try:
        for number, data in enumerate(_split(stream), start=1):
            if number == 1 and data.startswith(_UTF16):
                yield Fault(1, f"the file {_NOT_UTF8}")
                return
            yield _line(number, data) if data else (number, "")
    except OSError as error:
        yield Fault(number + 1, f"the rest cannot be read: {error.strerror}")


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


def _split(stream: BinaryIO) -> Iterator[bytes]:
    """Lines without their ends; of one that is too long a part that is too long as well."""
    read = getattr(stream, "read1", stream.read)  # Which returns what there is.
    begun = bytearray()
    after_cr = False
    while data := read(_CHUNK):
        at = 1 if after_cr and data.startswith(b"\n") else 0
        for end in _END.finditer(data, at):
            yield bytes(begun) + data[at : end.start()] if begun else data[at : end.start()]
            begun.clear()
            at = end.end()
        if len(begun) <= MAX_LINE:
            begun += data[at:]
        after_cr = data.endswith(b"\r")
    if begun:
        yield bytes(begun)
