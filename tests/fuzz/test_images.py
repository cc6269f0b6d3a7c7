"""Images and sidecars that may be anything: read, or refused in a sentence, within bounds."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fuzz import images, runner

READ = "fuzz.images:read"


def test_damaged_images_and_sidecars(fuzz: Callable[[str, runner.Maker], None]) -> None:
    fuzz(READ, images.make)


def _chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png(*chunks: bytes, width: int = 8, height: int = 8) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = _chunk(b"IDAT", zlib.compress(bytes((1 + 3 * width) * height)))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *chunks, rows, _chunk(b"IEND")])


def _jpeg(size: tuple[int, int] = (8, 8), **options: bool) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, "JPEG", **options)
    return stream.getvalue()


def _scans(times: int) -> bytes:
    """A picture of 67 million pixels whose last scan comes many times: each is a decoding of its own."""
    data = _jpeg((8192, 8192), progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:-2] + data[start:-2] * times + data[-2:]


def _lossless_webp() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8192, 8192)).save(stream, "WEBP", lossless=True, method=0)
    return stream.getvalue()


def _exif(count: int, size: int) -> bytes:
    """EXIF entries that all claim the same bytes."""
    entry = struct.pack(">HHII", 0x927C, 7, size, 0)
    return b"MM\0*" + struct.pack(">IH", 8, count) + entry * count + bytes(size - 12 * count)


FOUND: dict[str, tuple[Callable[[], bytes], str, str]] = {
    # Name: what it is, the file's ending, and how the answer begins.
    "millions of chunks": (lambda: _png(_chunk(b"prVt") * 2_000_000), ".png", "InputError"),
    "a million texts": (lambda: _png(_chunk(b"tEXt", b"k\0") * 1_000_000), ".png", "InputError"),
    "a large chunk": (lambda: _png(_chunk(b"iTXt", bytes(17_000_000))), ".png", "InputError"),
    "many scans": (lambda: _scans(300), ".jpg", "InputError"),
    "many segments": (lambda: b"\xff\xd8" + b"\xff\xee\0\2" * 4_000_000 + _jpeg()[2:], ".jpg", "InputError"),
    "many restarts": (lambda: b"\xff\xd8" + b"\xff\xd0" * 20_000_000 + _jpeg()[2:], ".jpg", "InputError"),
    "entries of one value": (
        lambda: _png(_chunk(b"eXIf", _exif(65_000, 3_000_000))),
        ".png",
        "InputError",
    ),
    "much filling": (lambda: b"\xff\xd8" + b"\xff" * 20_000_000 + _jpeg()[2:], ".jpg", "InputError"),
    "a large webp": (_lossless_webp, ".webp", "InputError"),
    "deep json": (lambda: b"[" * 200_000, ".json", "InputError"),
    "deep json in a sidecar": (
        lambda: b'{"schema": "sdgen-sidecar-1", "prompt": "x", "changes": %s}' % (b"[" * 900 + b"]" * 900),
        ".json",
        "InputError",
    ),
    "no numbers of json": (
        lambda: json.dumps({"schema": "sdgen-sidecar-1", "prompt": "x", "seconds": float("nan")}).encode(),
        ".json",
        "read",
    ),
}
"""Inputs that took longer or more memory than they may, or ended in a traceback."""


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_answered_in_bounds(
    try_out: Callable[[str, Callable[[Path], object]], str], name: str
) -> None:
    make, ending, answer = FOUND[name]
    assert try_out(READ, lambda folder: (folder / f"a{ending}").write_bytes(make())).startswith(answer)


def test_an_image_as_large_as_may_be_is_read(
    try_out: Callable[[str, Callable[[Path], object]], str],
) -> None:
    data = _png(_chunk(b"tEXt", b"parameters\0a fox\nSteps: 3, Seed: 1, Size: 8x8"), width=8192, height=8192)
    answer = try_out("fuzz.images:show_each", lambda folder: (folder / "a.png").write_bytes(data))
    assert answer == "read"
