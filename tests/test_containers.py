"""Bounds on what lies in image files, and the files of people that lie within them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from stand_in import REQUEST, draw

from sdgen.errors import InputError
from sdgen.files import containers
from sdgen.images import metadata, pictures


def jpeg(size: tuple[int, int] = (64, 64), **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, "JPEG", **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        *(metadata.encode(draw(REQUEST), format, REQUEST) for format in metadata.FORMATS),
        jpeg(progressive=True),
        jpeg(restart_marker_blocks=1),
        # What cameras put behind the end: another picture, a film.
        jpeg() + jpeg() * 100,
        jpeg() + b"\xff\xda\0\2" * 10_000,
        # A thumbnail within a segment has scans of its own.
        jpeg(exif=b"Exif\0\0" + jpeg(progressive=True) * 20),
        jpeg(icc_profile=b"\xff\xda\0\2" * 100_000),
        b"",
        b"\xff\xd8",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_what_people_have_is_within_bounds(data: bytes) -> None:
    file = io.BytesIO(data)
    containers.check(file)
    assert file.tell() == 0


@pytest.mark.parametrize("extra", range(60, 70))
@pytest.mark.parametrize("length", [0, 1024, 16_384, 262_144, 1 << 20])
def test_a_marker_across_two_blocks_is_seen(extra: int, length: int) -> None:
    """In front of the last scan is a run of pixels that ends about where a block does."""
    scan = b"\xff\xda\0\2"
    data = b"\xff\xd8" + scan * containers.MOST_SCANS + bytes(length + extra) + scan
    with pytest.raises(ValueError, match="more than 64 scans"):
        containers.check(io.BytesIO(data))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\xff\xd8" + b"\xff\xee\0\2" * 5000, "more than 4096 segments"),
        (b"\xff\xd8" + b"\xff\xee\xff\xff" + bytes(65_533) * 1, None),
        (b"\xff\xd8" + (b"\xff\xee\xff\xff" + bytes(65_533)) * 300, "bytes before its pixels"),
        (b"\xff\xd8" + b"\xff" * 5000 + jpeg()[2:], "bytes between its segments"),
        (b"\xff\xd8" + b"\xff\xd0" * 3000 + jpeg()[2:], "bytes between its segments"),
        (jpeg()[:-2] + b"\xff\xda\0\2" * 100, "more than 64 scans"),
        (b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0prVt\0\0\0\0" * 70_000, "more than 65536 chunks"),
        (b"\x89PNG\r\n\x1a\n" + b"\1\0\0\0tEXt", "a chunk of 16777216 bytes, and no pixels in it"),
        (b"\x89PNG\r\n\x1a\n" + b"\1\0\0\0IDAT", None),
    ],
)
def test_what_decoders_would_walk_over_is_bounded(data: bytes, sentence: str | None) -> None:
    if sentence is None:
        containers.check(io.BytesIO(data))
        return
    with pytest.raises(ValueError, match=sentence):
        containers.check(io.BytesIO(data))


@pytest.mark.parametrize(
    "head", [jpeg()[: jpeg().rindex(b"\xff\xda")] + b"\xff\xda\0\2", b"\x89PNG\r\n\x1a\n\0\0\0\1IDAT"]
)
def test_what_comes_after_the_first_pixels_is_not_read_unasked(head: bytes) -> None:
    class File(io.BytesIO):
        """Notes how far it was read."""

        most = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.most = max(self.most, self.tell())
            return data

    file = File(head + bytes(50_000_000))
    containers.check(file, whole=False)
    assert file.most < 4_000_000


def test_a_refused_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg()[:-2] + b"\xff\xda\0\2" * 100)
    with pytest.raises(InputError, match=r"a\.jpg is not read: it has more than 64 scans"):
        pictures.open_picture(tmp_path / "a.jpg")


def test_a_text_of_any_length_is_cut(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", "ab\n" * 4_000_000)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    (text,) = pictures.texts(pictures.open_picture(tmp_path / "a.png")).values()
    assert len(text) == pictures.MOST_TEXT
