"""Bounds on what lies in an image file, looked at before a decoder gets it.

Decoders bound an image's pixels, and not what else a file may hold: millions of empty chunks, hundreds of
scans of one JPEG, comments as large as a file may be. Files that people have are far below these bounds.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

MOST_PARTS = 65_536
"""Chunks of a PNG; libpng writes one for each 8 kB."""

MOST_EXTRA_BYTES = 16_000_000
"""Of a PNG's chunk that holds no pixels, and of all that comes before a JPEG's pixels."""

MOST_SEGMENTS = 4096
"""Of a JPEG."""

MOST_FILLING = 4096
"""Bytes between the segments that come before a JPEG's pixels; Pillow walks over each of them."""

MOST_SCANS = 64
"""Of a JPEG, which is decoded once for each; progressive ones have about ten."""

MOST_WEBP_BYTES = 64_000_000
"""Of a WebP, which its decoder holds three times."""

_BLOCK = 1 << 20
_PIXEL_CHUNKS = (b"IDAT", b"fdAT")
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""Those that have a length behind them, and the end; not what stands for a byte of 255, and no restarts."""
_END, _SCAN = 0xD9, 0xDA


def check(file: BinaryIO, whole: bool = True) -> None:
    """Refuse a file that holds more than an image needs.

    Args:
        file: at its beginning, where it is afterwards, too.
        whole: whether it is to be decoded; otherwise what comes before its pixels is looked at, and no more.

    Raises:
        ValueError: it does; the message says what, as a sentence about "it".
    """
    head = file.read(12)
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            _check_png(file, whole)
        elif head.startswith(b"\xff\xd8"):
            _check_jpeg(file, whole)
        elif head.startswith(b"RIFF") and head[8:] == b"WEBP" and file.seek(0, 2) > MOST_WEBP_BYTES:
            raise ValueError(f"it is a WebP of more than {MOST_WEBP_BYTES} bytes, the most that is read")
    finally:
        file.seek(0)


def _check_png(file: BinaryIO, whole: bool) -> None:
    file.seek(8)
    for _ in range(MOST_PARTS):
        header = file.read(8)
        if len(header) < 8 or header[4:] == b"IEND" or (header[4:] == b"IDAT" and not whole):
            return
        (length,) = struct.unpack(">I", header[:4])
        if length > MOST_EXTRA_BYTES and header[4:] not in _PIXEL_CHUNKS:
            raise ValueError(f"it has a chunk of {length} bytes, and no pixels in it")
        file.seek(length + 4, 1)
    raise ValueError(f"it has more than {MOST_PARTS} chunks")


def _check_jpeg(file: BinaryIO, whole: bool) -> None:
    scans = extra = filling = end = 0
    for number, (marker, start, length) in enumerate(_segments(file)):
        if not scans:
            extra += length
            filling += start - max(end, 2)
        if marker == _SCAN and not whole:
            return
        scans += marker == _SCAN
        end = start + length
        if number == MOST_SEGMENTS:
            raise ValueError(f"it has more than {MOST_SEGMENTS} segments")
        if scans > MOST_SCANS:
            raise ValueError(f"it has more than {MOST_SCANS} scans")
        if extra > MOST_EXTRA_BYTES:
            raise ValueError(f"it has more than {MOST_EXTRA_BYTES} bytes before its pixels")
        if filling > MOST_FILLING:
            raise ValueError(f"it has more than {MOST_FILLING} bytes between its segments")


def _segments(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """The segments of a JPEG up to its end: marker, place in the file and length with the marker."""
    file.seek(2)
    while (marker := _next_marker(file)) is not None and marker != _END:
        start = file.tell() - 2
        length = max(2, int.from_bytes(file.read(2), "big"))
        yield marker, start, length + 2
        file.seek(start + 2 + length)


def _next_marker(file: BinaryIO) -> int | None:
    """The next marker, with the file behind it; None at the file's end."""
    start, size = file.tell(), 64  # Most often, it is the next byte.
    while len(block := file.read(size)) > 1:
        if (found := _MARKER.search(block)) is not None:
            file.seek(start + found.end())
            return found[0][1]
        # A marker may lie across two blocks.
        start += len(block) - 1
        file.seek(start)
        size = min(16 * size, _BLOCK)
    return None
