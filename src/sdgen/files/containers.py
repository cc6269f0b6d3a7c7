"""Bounds on what lies in an image file, looked at before a decoder gets it.

Decoders bound an image's pixels, and not what else a file may hold: millions of empty chunks, hundreds of
scans of one JPEG, comments as large as a file may be. Files that people have are far below these bounds.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from sdgen.files import gif_blocks, tiff_folders

MOST_PARTS = 65_536
"""Chunks of a PNG; libpng writes one for each 8 kB."""

MOST_EXTRA_BYTES = 16_000_000
"""The most bytes of a PNG's chunk that holds no pixels, and of all that comes before a JPEG's pixels."""

MOST_SEGMENTS = 4096
"""The most segments of a JPEG."""

MOST_FILLING = 4096
"""Bytes between the segments that come before a JPEG's pixels; Pillow walks over each of them."""

MOST_SCANS = 64
"""The most scans of a JPEG, which is decoded once for each; progressive ones have about ten."""

MOST_SCANNED_PIXELS = 16 * 8192 * 8192
"""Pixels of a JPEG times its scans."""

MOST_EXIF_BYTES = 1_000_000
"""The most bytes of all EXIF segments of a JPEG, and of all segments of a camera's index of pictures."""

MOST_WEBP_BYTES = 64_000_000
"""The most bytes of a WebP or AVIF file, which its decoder holds three times."""

MOST_WEBP_PIXELS = 8192 * 4096
"""The most pixels of a WebP or AVIF, for which Pillow takes four times the memory of the picture."""

MOST_RUN_LENGTH_BYTES = 4_000_000
"""The most bytes of a BMP compressed by runs, which Pillow decodes in Python."""

MOST_PLAIN_BYTES = 16_000_000
"""The most bytes of a PPM whose numbers are written out, which Pillow decodes in Python."""

MOST_COMMENTS = 256
"""The most comments in a PPM whose numbers are written out."""

_BLOCK = 1 << 20
_PIXEL_CHUNKS = (b"IDAT", b"fdAT")
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""The markers with a length behind them, and the end: neither what stands for a byte of 255 nor restarts."""
_END, _SCAN = 0xD9, 0xDA
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers behind which a JPEG's size stands."""

_PPM_HEAD = re.compile(rb"P[1-6](?:[ \t\r\n\v\f]|#[^\r\n]*[\r\n]){1,512}[0-9]")
"""How a PPM begins, up to its width; there may be comments. Pillow goes over it byte by byte."""


def check(file: BinaryIO, whole: bool = True) -> None:
    """Refuse a file that holds more than an image needs.

    Args:
        file: at its beginning, where it is afterwards, too.
        whole: whether it is to be decoded; otherwise what comes before its pixels is looked at, and no more.

    Raises:
        ValueError: it does; the message says what, as a sentence about "it".
    """
    head = file.read(34)
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            _check_png(file, whole)
        elif head.startswith(b"\xff\xd8"):
            _check_jpeg(file, whole)
        elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            _check_webp(file, head)
        elif head[4:8] == b"ftyp" and file.seek(0, 2) > MOST_WEBP_BYTES:
            raise ValueError(f"it has more than {MOST_WEBP_BYTES} bytes, the most of an AVIF that is read")
        elif tiff_folders.is_tiff(head):
            tiff_folders.check(file)
        elif head.startswith(b"GIF8"):
            gif_blocks.check(file)
        elif head.startswith(b"BM"):
            _check_bmp(file, head)
        elif head[:1] == b"P" and head[1:2].isdigit():
            _check_ppm(file, head)
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


def _check_webp(file: BinaryIO, head: bytes) -> None:
    if file.seek(0, 2) > MOST_WEBP_BYTES:
        raise ValueError(f"it is a WebP of more than {MOST_WEBP_BYTES} bytes, the most that is read")
    # Pillow's decoder takes memory for the canvas before it tells its size (WebP's "Extended File Format").
    if head[12:16] == b"VP8X" and len(head) >= 30:
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
        if width * height > MOST_WEBP_PIXELS:
            raise ValueError(
                f"it is a WebP of {width}x{height}; the most pixels of one are {MOST_WEBP_PIXELS}"
            )


def _check_bmp(file: BinaryIO, head: bytes) -> None:
    (compression,) = struct.unpack("<I", head[30:34].ljust(4, b"\0"))
    if compression in (1, 2) and file.seek(0, 2) > MOST_RUN_LENGTH_BYTES:
        raise ValueError(f"it is a BMP of runs, of more than {MOST_RUN_LENGTH_BYTES} bytes; save it as PNG")


def _check_ppm(file: BinaryIO, head: bytes) -> None:
    file.seek(0)
    if not _PPM_HEAD.match(file.read(4096)):
        raise ValueError("it begins as a PPM, and no size follows")
    if head[1:2] not in b"123":
        return
    if file.seek(0, 2) > MOST_PLAIN_BYTES:
        raise ValueError(f"it is a PPM of text, of more than {MOST_PLAIN_BYTES} bytes; save it as PNG")
    file.seek(0)
    if file.read().count(b"#") > MOST_COMMENTS:
        raise ValueError(f"it is a PPM of more than {MOST_COMMENTS} comments")


def _check_jpeg(file: BinaryIO, whole: bool) -> None:
    scans = extra = filling = end = pixels = exif = 0
    for number, (marker, start, length) in enumerate(_segments(file)):
        if marker in (0xE1, 0xE2) and not scans:
            exif += _check_folders(file, length)
        if marker in _FRAMES:
            height, width = struct.unpack(">xHH", file.read(5).ljust(5, b"\0"))
            pixels = max(pixels, width * height)
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
        if scans * pixels > MOST_SCANNED_PIXELS:
            raise ValueError(f"it has {scans} scans of {pixels} pixels")
        if exif > MOST_EXIF_BYTES:
            raise ValueError(f"it has more than {MOST_EXIF_BYTES} bytes of EXIF")
        if extra > MOST_EXTRA_BYTES:
            raise ValueError(f"it has more than {MOST_EXTRA_BYTES} bytes before its pixels")
        if filling > MOST_FILLING:
            raise ValueError(f"it has more than {MOST_FILLING} bytes between its segments")


def _check_folders(file: BinaryIO, length: int) -> int:
    """Bytes of EXIF or of an index of pictures in the segment that the file is in, once they are checked."""
    kind = file.read(6)
    if kind == b"Exif\0\0":
        block = file.read(length - 10)
    elif kind.startswith(b"MPF\0"):
        block = kind[4:] + file.read(length - 10)
    else:
        return 0
    tiff_folders.check(io.BytesIO(block))
    return len(block)


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
