"""Some 220 hostile pictures, always the same: ``python tests/hostile_pictures.py FOLDER`` writes them.

Truncated and altered files of every format that is read, sizes that are lies, files that are much larger
unpacked, parts without end, what is no picture under a picture's ending, and what is no file at all.
"""

from __future__ import annotations

import io
import os
import random
import socket
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from sdgen.request.pictures import read_picture

ALTERED = 24
"""Whole pictures of which some bytes are others."""

ENDINGS = {
    **{"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "AVIF": "avif"},
    **{"TIFF": "tiff", "BMP": "bmp", "GIF": "gif", "PPM": "ppm"},
}
SIDE = 8192
"""Of the largest square that is read."""

Maker = Callable[[Path], object]
"""Makes what a path names."""


def makers() -> dict[str, Maker]:
    """What makes each of the pictures, by the name of its file."""
    found: dict[str, Maker] = {}
    for group in (_no_files, _no_pictures, _sizes, _pngs, _jpegs, _tiffs, _others, _large, _truncated):
        for name, make in group():
            assert name not in found, name
            found[name] = make if callable(make) else _writer(make)
    for number in range(ALTERED):
        found[f"altered-{number}.{list(ENDINGS.values())[number % len(ENDINGS)]}"] = _altered(number)
    return found


def read(folder: Path) -> None:
    """Reads the one picture in a folder as that of a request; a target of ``fuzz.runner``.

    Raises:
        InputError: it is refused.
    """
    (path,) = folder.iterdir()
    picture = read_picture(path, "init_image")
    assert picture.width >= 1


def _writer(content: bytes) -> Maker:
    return lambda path: path.write_bytes(content)


def _later(content: Callable[[], bytes]) -> Maker:
    """Of what is large, nothing is made before it is written."""
    return lambda path: path.write_bytes(content())


Group = Iterator[tuple[str, Any]]


# What is no file, and what is no picture


def _no_files() -> Group:
    def bind(path: Path) -> None:
        here = os.getcwd()
        os.chdir(path.parent)  # A socket's path may be about a hundred characters long.
        try:
            with socket.socket(socket.AF_UNIX) as opened:
                opened.bind(path.name)
        finally:
            os.chdir(here)

    def sparse(path: Path) -> None:
        with path.open("wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n")
            file.truncate(1 << 40)

    yield "folder.png", Path.mkdir
    yield "pipe.png", os.mkfifo
    yield "socket.png", bind
    yield "device.png", lambda path: path.symlink_to("/dev/zero")
    yield "terminal.png", lambda path: path.symlink_to("/dev/tty")
    yield "itself.png", lambda path: path.symlink_to(path.name)
    yield "nowhere.png", lambda path: path.symlink_to("not-there.png")
    yield "proc.png", lambda path: path.symlink_to("/proc/self/maps")
    yield "terabyte.png", sparse


def _no_pictures() -> Group:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "empty.png", b""
    yield "one-byte.jpg", b"\xff"
    yield "svg.png", svg
    yield "svg.jpg", b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "b">]>' + svg
    yield "page.png", b"<!doctype html><html><body>404</body></html>"
    yield "pdf.png", b"%PDF-1.7\n1 0 obj\n"
    yield "postscript.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%stdin) run\n"
    yield "metafile.png", b"\xd7\xcd\xc6\x9a" + bytes(40)
    yield "pointer.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    yield "json.png", b'{"prompt": "a fox"}'
    yield "archive.png", b"PK\x03\x04" + bytes(100)
    yield "pickle.png", b"\x80\x04cos\nsystem\n(S'true'\ntR."
    yield "program.png", b"\x7fELF\x02\x01\x01" + bytes(100)
    yield "heic.jpg", b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(100)
    yield "icon.png", b"\0\0\1\0\1\0" + bytes(100)
    yield "targa.png", b"\0\0\2" + bytes(9) + struct.pack("<HHBB", 65535, 65535, 24, 0)
    yield "photoshop.png", b"8BPS\0\1" + bytes(100)
    yield "text.png", b"a red fox in the snow\n" * 1000
    yield "noise.png", random.Random(1).randbytes(100_000)
    yield "zeros.jpg", bytes(1_000_000)


# Sizes that are lies


def _sizes() -> Group:
    for width, height in ((20_000, 20_000), (65_535, 65_535), (1, 2**31 - 1), (0, 5)):
        size = f"{width}x{height}"
        yield f"size-{size}.png", png(width, height)
        yield f"size-{size}.bmp", bmp(width, height)
        yield f"size-{size}.ppm", b"P6 %d %d 255\n" % (width, height) + bytes(50)
        yield f"size-{size}.tiff", tiff({256: (4, [width]), 257: (4, [height]), 279: (4, [50])})
    for width, height in ((20_000, 20_000), (65_535, 65_535), (0, 5)):
        size = f"{width}x{height}"
        yield f"size-{size}.gif", struct.pack("<6sHHBBB", b"GIF89a", width, height, 0, 0, 0) + bytes(9)
        found = bytearray(encoded("JPEG"))
        at = found.index(b"\xff\xc0") + 5
        found[at : at + 4] = struct.pack(">HH", height, width)
        yield f"size-{size}.jpg", bytes(found)
    canvas = (16_383).to_bytes(3, "little") * 2
    yield "size-16384.webp", b"RIFF\x30\0\0\0WEBPVP8X\x0a\0\0\0\2\0\0\0" + canvas + encoded("WEBP")[12:]
    yield "side-20000x1.png", encoded("PNG", Image.new("RGB", (20_000, 1)))
    yield "side-1x20000.png", encoded("PNG", Image.new("RGB", (1, 20_000)))
    yield "side-1x1.gif", encoded("GIF", Image.new("P", (1, 1)))
    yield "side-60000x1000.jpg", _later(lambda: encoded("JPEG", Image.new("L", (60_000, 1000))))


# Parts without end


def chunk(name: bytes, body: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int = 8,
    height: int = 8,
    *chunks: bytes,
    rows: bytes | None = None,
    packed: bytes | None = None,
    kind: int = 2,
) -> bytes:
    """A PNG whose pixels are those of 8 by 8, ``rows``, or ``packed`` as zlib has rows, whatever its size."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))
    pixels = chunk(b"IDAT", packed or zlib.compress(bytes(8 * 25) if rows is None else rows))
    return b"".join([b"\x89PNG\r\n\x1a\n", head, *chunks, pixels, chunk(b"IEND")])


def _packed(size: int) -> bytes:
    """``size`` zeros as zlib packs them: a megabyte, over and over, for which nobody has to wait."""
    count, rest = divmod(size, 1 << 20)
    megabyte = _deflated(1 << 20, zlib.Z_FULL_FLUSH) if count else b""
    checksum = (size % 65521) << 16 | 1  # Adler-32 of zeros.
    return b"\x78\xda" + megabyte * count + _deflated(rest, zlib.Z_FINISH) + struct.pack(">I", checksum)


def _deflated(zeros: int, end: int) -> bytes:
    deflate = zlib.compressobj(9, wbits=-15)
    return deflate.compress(bytes(zeros)) + deflate.flush(end)


def _pngs() -> Group:
    yield "chunks.png", _later(lambda: png(8, 8, chunk(b"prVt") * 2_000_000))
    yield "texts.png", _later(lambda: png(8, 8, chunk(b"tEXt", b"k\0") * 60_000))
    yield "profile-bomb.png", _later(lambda: png(8, 8, chunk(b"iCCP", b"a\0\0" + _packed(1 << 30))))
    yield "text-bomb.png", _later(lambda: png(8, 8, chunk(b"zTXt", b"a\0\0" + _packed(1 << 30))))
    yield "texts-bomb.png", _later(lambda: png(8, 8, chunk(b"zTXt", b"a\0\0" + _packed(900_000)) * 5000))
    yield "text-bomb-2.png", _later(lambda: png(8, 8, chunk(b"iTXt", b"a\0\1\0\0\0" + _packed(1 << 30))))
    yield "large-chunk.png", _later(lambda: png(8, 8, chunk(b"eXIf", bytes(17_000_000))))
    yield "pixels-bomb.png", _later(lambda: png(packed=_packed(1 << 30)))
    yield "exif-entries.png", png(8, 8, chunk(b"eXIf", folders(3000, 1_000_000)))
    yield "no-palette.png", png(kind=3)
    yield "short-palette.png", png(8, 8, chunk(b"PLTE", b"\0\0\0"), rows=b"\xff" * 72, kind=3)
    yield "long-transparency.png", png(8, 8, chunk(b"PLTE", bytes(768)), chunk(b"tRNS", bytes(5000)), kind=3)
    yield "short-transparency.png", png(8, 8, chunk(b"tRNS", b"\1"))
    yield "endless-animation.png", png(8, 8, chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)))
    yield "no-pixels.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + chunk(b"IEND")
    yield "two-heads.png", png(8, 8, chunk(b"IHDR", struct.pack(">IIBBBBB", 65535, 65535, 8, 2, 0, 0, 0)))
    yield "wrong-checksum.png", encoded("PNG")[:40] + b"\0" + encoded("PNG")[41:]
    for name, profile in _profiles().items():
        yield f"profile-{name}.png", png(8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(profile)))


def _profiles() -> dict[str, bytes]:
    """ICC profiles that are none."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    curve = srgb.index(b"para", 200)
    return {
        "empty": b"",
        "short": srgb[:130],
        "tags": srgb[:128] + b"\xff\xff\xff\xff" + srgb[132:],
        "places": srgb[:136] + b"\xff" * 200 + srgb[336:],
        "curve": srgb[:curve] + b"curv\0\0\0\0\xff\xff\xff\xff" + srgb[curve + 12 :],
        "kind": srgb[:12] + b"linkCMYKLab " + srgb[24:],
        "noise": srgb[:128] + random.Random(2).randbytes(len(srgb) - 128),
    }


def folders(count: int, size: int, kind: int = 7, tag: int = 0x927C) -> bytes:
    """A TIFF file, as EXIF is one, of entries that all claim the same bytes."""
    entry = struct.pack(">HHII", tag, kind, size // {3: 2, 4: 4, 5: 8}.get(kind, 1), 8)
    return b"MM\0*" + struct.pack(">IH", 8, count) + entry * count + bytes(max(0, size - 12 * count))


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 255, marker, len(body) + 2) + body


def _jpegs() -> Group:
    plain = encoded("JPEG")

    def put_in(*segments: bytes) -> bytes:
        return plain[:2] + b"".join(segments) + plain[2:]

    def scans(times: int, side: int) -> bytes:
        found = encoded("JPEG", Image.new("RGB", (side, side)), progressive=True)
        start = found.rindex(b"\xff\xda")
        return found[:-2] + found[start:-2] * times + found[-2:]

    exif = [_segment(0xE1, b"Exif\0\0" + folders(5000, 60_000, kind)) for kind in (3, 5, 7)]
    yield "segments.jpg", put_in(_segment(0xEE, b"") * 100_000)
    yield "restarts.jpg", _later(lambda: put_in(b"\xff\xd0" * 20_000_000))
    yield "filling.jpg", _later(lambda: put_in(b"\xff" * 20_000_000))
    yield "rubbish.jpg", _later(lambda: put_in(b"x" * 20_000_000))
    yield "scans.jpg", _later(lambda: scans(300, 64))
    yield "scans-of-many-pixels.jpg", _later(lambda: scans(50, SIDE))
    yield "scans-just-allowed.jpg", _later(lambda: scans(6, SIDE))
    yield "exif-shorts.jpg", put_in(exif[0])
    yield "exif-fractions.jpg", put_in(exif[1])
    yield "exif-often.jpg", _later(lambda: put_in(exif[2] * 250))
    yield "exif-resolution.jpg", put_in(_segment(0xE1, b"Exif\0\0" + folders(1, 60_000, 5, 0x011A)))
    yield "index-shorts.jpg", put_in(_segment(0xE2, b"MPF\0" + folders(5000, 60_000, 3)))
    yield (
        "index-many.jpg",
        put_in(_segment(0xE2, b"MPF\0MM\0*\0\0\0\x08\0\1\xb0\1\0\4\0\0\0\1\x7f\xff\xff\xff")),
    )
    yield "profile-pieces.jpg", put_in(*(_segment(0xE2, b"ICC_PROFILE\0\xff\xff" + bytes(60_000)),) * 250)
    yield "photoshop.jpg", _later(lambda: put_in(_segment(0xED, b"Photoshop 3.0\0" + b"8BIM" * 16_000) * 250))
    yield "comments.jpg", put_in(_segment(0xFE, bytes(65_000)) * 200)
    yield "no-tables.jpg", plain.replace(b"\xff\xdb", b"\xff\xfe")
    yield "arithmetic.jpg", plain.replace(b"\xff\xc0", b"\xff\xc9")
    yield "lossless.jpg", plain.replace(b"\xff\xc0", b"\xff\xc3")


def tiff(tags: dict[int, tuple[int, list[int]]], pixels: bytes = bytes(200), big: bool = False) -> bytes:
    """A TIFF of 8 by 8 grey pixels in one strip, with some tags changed: type and values."""
    place = 16 if big else 8
    usual = {
        **{256: (4, [8]), 257: (4, [8]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1])},
        **{273: (4, [place]), 277: (3, [1]), 278: (4, [8]), 279: (4, [64])},
    }
    entries, extra = b"", b""
    number, width = ("Q", 8) if big else ("I", 4)
    every = {**usual, **tags}
    at = place + len(pixels)
    after = at + (16 if big else 6) + (20 if big else 12) * len(every)
    for tag, (kind, values) in sorted(every.items()):
        data = struct.pack(f"<{len(values)}{ {1: 'B', 3: 'H', 4: 'I', 7: 'B', 16: 'Q'}[kind] }", *values)
        if len(data) > width:
            place_of, extra = after + len(extra), extra + data
            data = struct.pack("<" + number, place_of)
        entries += struct.pack("<HH" + number, tag, kind, len(values)) + data.ljust(width, b"\0")
    head = struct.pack("<4sHHQ", b"II+\0", 8, 0, at) if big else struct.pack("<4sI", b"II*\0", at)
    count = struct.pack("<Q" if big else "<H", len(every))
    return head + pixels + count + entries + bytes(width) + extra


def _tiffs() -> Group:
    long, short = 4, 3
    itself = bytearray(tiff({}))
    itself[-4:] = itself[4:8]
    far = bytearray(tiff({}))
    far[-4:] = b"\xff\xff\xff\x7f"
    yield "strips.tiff", _later(lambda: tiff({273: (long, [8] * 5_000_000), 279: (long, [1] * 5_000_000)}))
    yield (
        "strips-65535.tiff",
        tiff({257: (long, [65_535]), 278: (long, [1]), 273: (long, [8] * 65_535), 279: (long, [8] * 65_535)}),
    )
    yield "strips-outside.tiff", tiff({273: (long, [2**31])})
    yield "strips-none.tiff", tiff({273: (long, [0]), 279: (long, [0])})
    yield "strips-of-no-rows.tiff", tiff({278: (long, [0])})
    yield "bytes.tiff", _later(lambda: tiff({700: (1, [0] * 20_000_000)}))
    yield "samples.tiff", tiff({277: (short, [65_535])})
    yield "bits.tiff", tiff({258: (short, [64])})
    yield "depths.tiff", tiff({258: (short, [8] * 60_000), 277: (short, [60_000])})
    tile = {322: (long, [2**30]), 323: (long, [2**30]), 324: (long, [8]), 325: (long, [64])}
    yield "tile.tiff", tiff(tile)
    yield "tile-deflated.tiff", tiff({**tile, 259: (short, [8])})
    yield "tile-wide.tiff", tiff({**tile, 322: (long, [16_384]), 323: (long, [16_384]), 259: (short, [5])})
    yield (
        "tiles.tiff",
        tiff({**tile, 322: (long, [16]), 323: (long, [16]), 256: (long, [8000]), 257: (long, [8000])}),
    )
    for name, number in (("old-jpeg", 6), ("jpeg", 7), ("lzma", 34925), ("zstd", 50000), ("webp", 50001)):
        yield f"compressed-{name}.tiff", tiff({259: (short, [number])})
    for name, number in (
        ("lzw", 5),
        ("fax", 4),
        ("fax3", 3),
        ("deflate", 8),
        ("packbits", 32773),
        ("sgi", 34676),
    ):
        rows = {
            256: (long, [SIDE]),
            257: (long, [SIDE]),
            278: (long, [SIDE]),
            258: (short, [1 if "fax" in name else 8]),
        }
        body = _packed(SIDE * SIDE) if name == "deflate" else bytes(200)
        yield f"bomb-{name}.tiff", tiff({**rows, 259: (short, [number]), 279: (long, [len(body)])}, body)
    yield "next-is-itself.tiff", bytes(itself)
    yield "next-is-far.tiff", bytes(far)
    yield "folders-shorts.tiff", folders(60_000, 500_000, 3)
    yield "folders-fractions.tiff", folders(60_000, 1_900_000, 5)
    yield "fractions.tiff", _later(lambda: tiff({}) + bytes(100))
    yield "inner-folder.tiff", tiff({34665: (long, [8])}, folders(10, 100_000, 3)[8:])
    yield "big.tiff", tiff({273: (16, [2**62])}, big=True)
    yield "big-strips.tiff", tiff({273: (16, [16] * 400_000), 279: (16, [1] * 400_000)}, big=True)


def bmp(width: int = 8, height: int = 8, compression: int = 0, bits: int = 24, pixels: bytes = b"") -> bytes:
    """A BMP."""
    colours = bytes(4 << bits) if bits <= 8 else b""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return struct.pack("<2sIII", b"BM", 0, 0, 54 + len(colours)) + head + colours + pixels


def _others() -> Group:
    gif = struct.pack("<6sHHBBB", b"GIF89a", 8, 8, 0, 0, 0)
    frame = b",\0\0\0\0\x08\0\x08\0\0\2\2\x84\x51\0"
    yield "comments.gif", _later(lambda: gif + b"!\xfe" + b"\1x" * 20_000_000 + b"\0" + frame + b";")
    yield "extensions.gif", _later(lambda: gif + b"!\xf9\4\0\0\0\0\0" * 5_000_000 + frame + b";")
    yield "rubbish.gif", _later(lambda: gif + b"x" * 30_000_000 + frame + b";")
    yield "pieces.gif", _later(lambda: gif + frame[:-1] + b"\1x" * 20_000_000 + b"\0;")
    yield "after.gif", _later(lambda: gif + frame + b"!\xfe\0" * 10_000_000 + b";")
    yield "frames.gif", _later(lambda: gif + frame * 1_000_000 + b";")
    yield "outside.gif", gif + b",\xff\xff\xff\xff\xff\xff\xff\xff\0\2\2\x84\x51\0;"
    yield "no-end.gif", gif + frame[:-2]
    yield "runs.bmp", _later(lambda: bmp(1024, 1024, 1, 8, b"\0\2\0\0" * 30_000_000))
    yield "runs-allowed.bmp", _later(lambda: bmp(1024, 1024, 1, 8, b"\1\1" * 1_900_000))
    yield "runs-up.bmp", bmp(1024, 1024, 1, 8, b"\0\2\xff\xff" * 5000)
    yield "head.bmp", b"BM" + bytes(12) + struct.pack("<I", 2**32 - 1)
    yield "bits.bmp", bmp(8, 8, 3, 32, b"\xff" * 12)
    yield "embedded.bmp", bmp(8, 8, 5, 24, encoded("PNG"))
    yield "comments.ppm", _later(lambda: b"P3 " + b"#\n" * 20_000_000 + b"8 8 255\n")
    yield "comment.ppm", _later(lambda: b"P6 #" + b"x" * 50_000_000 + b"\n8 8 255\n")
    yield "spaces.ppm", _later(lambda: b"P6" + b" " * 50_000_000 + b"8 8 255\n")
    yield "comments-inside.ppm", _later(lambda: b"P3 8 8 255\n" + b"#\n" * 5_000_000)
    yield "text.ppm", _later(lambda: b"P3 1024 1024 255\n" + b"7 " * (3 * 1024 * 1024))
    yield "deep.ppm", _later(lambda: b"P6 1024 1024 65535\n" + bytes(6 * 1024 * 1024))
    yield "deep-large.ppm", _later(lambda: b"P6 8192 2048 65535\n" + bytes(6 * 8192 * 2048))
    yield "number.ppm", b"P6 " + b"9" * 5000 + b" 8 255\n"
    yield "floats.ppm", b"Pf 8 8 nan\n" + b"\xff" * 256
    yield "riff.webp", b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff"
    yield "canvas.webp", b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\2\0\0\0" + b"\xff" * 6
    yield "boxes.avif", b"\0\0\0\x18ftypavif\0\0\0\0avifmif1" + b"\xff\xff\xff\xffmeta" * 1000


def _large() -> Group:
    """Pictures as large as may be, and a little larger."""
    exif = Image.Exif()
    exif[274] = 6
    square = (SIDE, SIDE)
    profile = next(iter(_profiles().values()))
    for mode in ("1", "P", "RGBA", "I;16"):
        yield (
            f"large-{mode.replace(';', '')}.png",
            _later(lambda mode=mode: encoded("PNG", Image.new(mode, square))),
        )
    yield "large-turned.png", _later(lambda: encoded("PNG", Image.new("RGBA", square), exif=exif))
    yield "larger.png", _later(lambda: encoded("PNG", Image.new("1", (SIDE, SIDE + 1))))
    yield "large-cmyk.jpg", _later(lambda: encoded("JPEG", Image.new("CMYK", square), icc_profile=profile))
    yield "large-raw.tiff", _later(lambda: encoded("TIFF", Image.new("RGB", square)))
    yield "large-floats.tiff", _later(lambda: encoded("TIFF", Image.new("F", square), compression="tiff_lzw"))
    yield "large.bmp", _later(lambda: encoded("BMP", Image.new("RGB", square)))
    yield "large.webp", _later(lambda: encoded("WEBP", Image.new("RGBA", (SIDE, SIDE // 2)), lossless=True))
    yield "larger.webp", _later(lambda: encoded("WEBP", Image.new("RGB", square), lossless=True))
    yield "large.gif", _later(lambda: encoded("GIF", Image.new("L", square)))


def _truncated() -> Group:
    for format, ending in ENDINGS.items():
        whole = encoded(format)
        for share in (0.1, 0.5, 0.99):
            yield f"truncated-{share}.{ending}", whole[: int(share * len(whole))]
    for options in ({"compression": "tiff_lzw"}, {"compression": "jpeg"}):
        whole = encoded("TIFF", **options)
        yield f"truncated-{options['compression']}.tiff", whole[:-20]


def _altered(number: int) -> Maker:
    rng = random.Random(number)
    format = list(ENDINGS)[number % len(ENDINGS)]
    found = bytearray(encoded(format))
    for _ in range(rng.choice((1, 5, 30))):
        found[rng.randrange(len(found) if rng.random() < 0.5 else 60)] = rng.choice(
            (0, 255, rng.randrange(256))
        )
    return _writer(bytes(found))


def encoded(format: str, picture: Image.Image | None = None, **options: Any) -> bytes:
    """A picture as a file; a small one of noise where none is given."""
    if picture is None:
        pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels if format != "GIF" else pixels[..., 0])
    usual = {"PNG": {"compress_level": 1}, "WEBP": {"method": 0}, "AVIF": {"speed": 10}}
    stream = io.BytesIO()
    picture.save(stream, format, **{**usual.get(format, {}), **options})
    return stream.getvalue()


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    for name, make in makers().items():
        make(Path(sys.argv[1], name))
