"""Bounds on the blocks of a GIF, since Pillow walks over each of them in Python."""

from __future__ import annotations

from typing import BinaryIO

MOST_BYTES = 64_000_000
"""The most bytes of a GIF."""

MOST_PIECES = 400_000
"""Into which the pixels are cut, of up to 255 bytes each."""

MOST_EXTRA = 4096
"""Pieces of comments and the like, and bytes between blocks."""

_EXTENSION, _IMAGE, _TRAILER = b"!", b",", b";"


def check(file: BinaryIO) -> None:
    """Refuse a GIF that has more blocks than a picture needs, up to its second picture.

    Raises:
        ValueError: it does; the message says what, as a sentence about "it".
    """
    if file.seek(0, 2) > MOST_BYTES:
        raise ValueError(f"it is a GIF of more than {MOST_BYTES} bytes, the most that is read")
    file.seek(10)
    flags = file.read(1) or b"\0"
    file.seek(13 + _palette(flags[0]))
    images = extra = 0
    while (mark := file.read(1)) and mark != _TRAILER and images < 2:
        if mark == _IMAGE:
            images += 1
            descriptor = file.read(9)
            file.seek(_palette(descriptor[-1] if descriptor else 0) + 1, 1)
            _skip(file, MOST_PIECES)
            continue
        if mark == _EXTENSION:
            file.read(1)
            extra += _skip(file, MOST_EXTRA)
        extra += 1
        if extra > MOST_EXTRA:
            raise ValueError(f"it has more than {MOST_EXTRA} pieces that hold no pixels")


def _palette(flags: int) -> int:
    """Bytes of the palette that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _skip(file: BinaryIO, most: int) -> int:
    """Skip the pieces of a block, up to the empty one that ends it; returns how many there were."""
    for count in range(most):
        length = file.read(1)
        if length in (b"", b"\0"):
            return count
        file.seek(length[0], 1)
    raise ValueError(f"it has more than {most} pieces in one block")
