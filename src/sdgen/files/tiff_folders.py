"""Bounds on what the folders of a TIFF file announce; EXIF and a camera's index of pictures are such files.

Pillow reads each value that a folder announces, and many may claim the same bytes. Numbers become Python's
objects, of ten times their bytes and more.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

MOST_ENTRIES = 2048
"""The most entries in all folders that are looked at; what programs write has some dozens."""

MOST_NUMBER_BYTES = 2_000_000
"""The most bytes of all numbers. Places and lengths of strips, each for 65535 rows, take up to 1 MB."""

MOST_VALUE_BYTES = 16_000_000
"""The most bytes of all values: texts, profiles and previews."""

_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
"""Bytes of a value, by the number of its type (TIFF 6.0, section 2; BigTIFF)."""

_BYTES = (1, 2, 7)
"""Types that stay bytes: BYTE, ASCII and UNDEFINED."""

_INNER = (0x8769, 0x8825, 0xA005)
"""Tags of the places of folders that Pillow reads unasked: EXIF's, of the place, and of how to read it."""


def is_tiff(head: bytes) -> bool:
    """Whether a file that begins like this is a TIFF or BigTIFF."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def check(file: BinaryIO) -> None:
    """Refuse a TIFF file whose first folder, or a folder in it, announces more than a picture needs.

    Args:
        file: of which the TIFF file is all.

    Raises:
        ValueError: it does; the message says what, as a sentence about "it".
    """
    file.seek(0)
    head = file.read(16)
    if not is_tiff(head):
        return
    order, big = "<" if head[:1] == b"I" else ">", b"+" in head[:4]
    places = [_unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])]
    entries = numbers = values = 0
    for place in places:  # It grows by the folders that are found.
        for tag, kind, count, value in _folder(file, place, order, big):
            entries += 1
            size = count * _SIZES.get(kind, 0)
            values += size
            numbers += 0 if kind in _BYTES else size
            if tag in _INNER and len(places) < 2 * len(_INNER):
                places.append(_unpack(order + ("Q" if big else "I"), value))
            if entries > MOST_ENTRIES:
                raise ValueError(f"it has more than {MOST_ENTRIES} entries in its TIFF folders")
            if numbers > MOST_NUMBER_BYTES:
                raise ValueError(f"it has more than {MOST_NUMBER_BYTES} bytes of numbers in its TIFF folders")
            if values > MOST_VALUE_BYTES:
                raise ValueError(f"it has more than {MOST_VALUE_BYTES} bytes in its TIFF folders")


def _folder(file: BinaryIO, place: int, order: str, big: bool) -> list[tuple[int, int, int, bytes]]:
    """Tag, type, count, and value or place of each entry of a folder, as far as they are there."""
    if place >= 2**63:
        return []
    file.seek(place)
    count = _unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))
    layout = order + ("HHQ8s" if big else "HHI4s")
    data = file.read(struct.calcsize(layout) * min(count, MOST_ENTRIES + 1))
    whole = len(data) // struct.calcsize(layout) * struct.calcsize(layout)
    return list(struct.iter_unpack(layout, data[:whole]))


def _unpack(layout: str, data: bytes) -> int:
    """A number; 0 where there are too few bytes."""
    size = struct.calcsize(layout)
    return int(struct.unpack(layout, data[:size])[0]) if len(data) >= size else 0
