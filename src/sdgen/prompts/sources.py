"""Bytes of a prompts file to text, by line or whole, within bounds."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from sdgen.prompts.entries import Fault

MIB = 1 << 20
MAX_LINE = MIB
"""Bytes of one line: two prompts of 20,000 characters, each escaped as JSON may do it, and room."""

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NOT_UTF8 = "is not UTF-8; save the file as UTF-8"
_NUL = "the line holds a NUL character; remove it"


def lines(stream: BinaryIO) -> Iterator[tuple[int, str] | Fault]:
    """Numbered lines without their ends, read one at a time, and a fault for each that is unreadable."""
    number = 0
    while True:
        try:
            data = stream.readline(MAX_LINE + 1)
            number += 1
            if len(data) > MAX_LINE:
                while data and not data.endswith(b"\n"):
                    data = stream.readline(MAX_LINE)
                yield Fault(number, f"the line is longer than {MAX_LINE // MIB} MiB")
                continue
        except OSError as error:
            yield Fault(number + 1, f"the rest cannot be read: {error.strerror}")
            return
        if not data:
            return
        if number == 1 and data.startswith(_UTF16):
            yield Fault(1, f"the file {_NOT_UTF8}")
            return
        if b"\0" in data:
            yield Fault(number, _NUL)
            continue
        try:
            yield number, data.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            yield Fault(number, f"byte {error.start + 1} of the line, 0x{data[error.start]:02x}, {_NOT_UTF8}")


def whole(stream: BinaryIO, most: int) -> str | Fault:
    """All of a stream as text, or why not. ``most`` is in bytes."""
    try:
        data = stream.read(most + 1)
    except OSError as error:
        return Fault(1, f"the file cannot be read: {error.strerror}")
    if len(data) > most:
        return Fault(1, f"the file is larger than {most // MIB} MiB; JSONL and CSV have no such limit")
    if data.startswith(_UTF16):
        return Fault(1, f"the file {_NOT_UTF8}")
    if (at := data.find(b"\0")) >= 0:
        return Fault(data.count(b"\n", 0, at) + 1, _NUL)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Of the bytes after a byte order mark.
        at = error.start + (len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0)
        return Fault(data.count(b"\n", 0, at) + 1, f"the line has a byte 0x{data[at]:02x} that {_NOT_UTF8}")
