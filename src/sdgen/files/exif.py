"""The few EXIF fields that sdgen needs, read from a block that may be anything.

Pillow reads every entry that a block announces, and many entries may claim the same bytes: a block of one
megabyte can ask for more than the machine has. Here a field is looked up, and nothing else is read.
"""

from __future__ import annotations

import struct

SOFTWARE, USER_COMMENT, MAKER_NOTE = 0x0131, 0x9286, 0x927C
"""Tags of the fields that are read."""

ORIENTATION = 0x0112
"""Tag of how a picture is to be turned."""

FOLDER = 0x8769
"""Tag of the place of the folder where the last two belong."""

MOST_BYTES = 4_000_000
"""The most bytes of an EXIF block that are looked at."""

_SHORT = 3
_TEXT_TYPES = (1, 2, 7)
_TYPES = dict.fromkeys((SOFTWARE, USER_COMMENT, MAKER_NOTE), _TEXT_TYPES) | {
    FOLDER: (4, 13),
    ORIENTATION: (_SHORT, 4),
}
"""Types of values (TIFF 6.0, section 2) that a tag may have: bytes, ASCII and undefined; LONG, IFD, SHORT."""


def fields(block: bytes) -> dict[int, str]:
    """The texts of an EXIF block by tag.

    They are looked for in the folder where they belong and in the first one, where Fooocus puts them.

    Args:
        block: a TIFF file, with or without "Exif" before it.
    """
    first, block, order = _first_folder(block)
    inner = _folder(block, _number(first.get(FOLDER, b""), order), order)
    return {
        tag: _decoded(value) for tag, value in {**first, **inner}.items() if tag not in (FOLDER, ORIENTATION)
    }


def orientation(block: bytes) -> int:
    """How the picture is to be turned, 1 to 8 (TIFF 6.0, section 8); 1 leaves it as it is."""
    first, _, order = _first_folder(block)
    value = _number(first.get(ORIENTATION, b""), order)
    return value if 1 <= value <= 8 else 1


def _first_folder(block: bytes) -> tuple[dict[int, bytes], bytes, str]:
    """The values in the first folder, the block from its beginning as a TIFF file, and its byte order."""
    block = block[:MOST_BYTES].removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return {}, b"", "<"
    return _folder(block, _number(block[4:8], order), order), block, order


def _folder(block: bytes, at: int, order: str) -> dict[int, bytes]:
    """The first value of each tag that is read in a folder; none if the folder lies outside the block."""
    found: dict[int, bytes] = {}
    count = _number(block[at : at + 2], order) if at else 0
    for place in range(at + 2, min(at + 2 + 12 * count, len(block) - 11), 12):
        tag, kind, size = struct.unpack_from(f"{order}HHI", block, place)
        if tag in found or _TYPES.get(tag) is None or kind not in _TYPES[tag]:
            continue
        start = place + 8
        if tag in (FOLDER, ORIENTATION):
            size = 4 if kind != _SHORT else 2
        elif size > 4:
            start = _number(block[start : start + 4], order)
        found[tag] = block[start : start + size]
    return found


def _number(data: bytes, order: str) -> int:
    return int.from_bytes(data, "little" if order == "<" else "big")


def _decoded(value: bytes) -> str:
    """The text of a value. A UserComment begins with eight bytes that name its encoding."""
    encoding, text = "utf-8", value
    if value[:8] == b"UNICODE\0":
        text = value[8:]
        # Writers disagree on the byte order; in either, the high byte of most characters is 0.
        encoding = "utf-16-le" if text[1::2].count(0) > text[0::2].count(0) else "utf-16-be"
    elif value[:8] in (b"ASCII\0\0\0", bytes(8)):
        text = value[8:]
    return text.decode(encoding, errors="replace").strip("\0\ufeff")
