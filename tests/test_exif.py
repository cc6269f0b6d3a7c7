"""EXIF blocks that may be anything."""

from __future__ import annotations

import struct
import time
import tracemalloc

import pytest
from PIL import Image

from sdgen.files import exif


def block(entries: list[tuple[int, int, int, int]], more: bytes = b"", order: str = ">") -> bytes:
    """A TIFF file of one folder, whose entries are tag, type, count and value; ``more`` comes behind it."""
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}IH", 8, len(entries))
    return head + b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries) + more


@pytest.mark.parametrize("inner", [True, False])
def test_fields_are_those_that_pillow_writes(inner: bool) -> None:
    written = Image.Exif()
    folder = written.get_ifd(0x8769) if inner else written
    folder[exif.USER_COMMENT] = b"UNICODE\0" + "a fox, 富士山".encode("utf-16-be")
    folder[exif.MAKER_NOTE] = b"{}"
    written[exif.SOFTWARE] = "sdgen 1"
    assert exif.fields(written.tobytes()) == {
        exif.SOFTWARE: "sdgen 1",
        exif.USER_COMMENT: "a fox, 富士山",
        exif.MAKER_NOTE: "{}",
    }


@pytest.mark.parametrize("order", ["<", ">"])
def test_many_entries_of_the_same_bytes_are_not_all_read(order: str) -> None:
    """Pillow would read each: 65,535 times one megabyte."""
    entries = [(exif.MAKER_NOTE, 7, 1_000_000, 0)] * 65_535
    began = time.process_time()
    tracemalloc.start()
    found = exif.fields(block(entries, bytes(300_000), order))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert set(found) == {exif.MAKER_NOTE}
    assert most < 20_000_000
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"MM",
        b"MM\0*",
        b"MM\0*\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"XX\0*\0\0\0\x08\0\0",
        block([(0x8769, 4, 1, 8)]),
        block([(0x8769, 4, 1, 2**32 - 1)]),
        block([(exif.USER_COMMENT, 7, 2**32 - 1, 2**32 - 1)]),
        block([(exif.USER_COMMENT, 5, 1, 0)]),
    ],
)
def test_what_is_damaged_has_no_text(damaged: bytes) -> None:
    assert not any(exif.fields(damaged).values())
