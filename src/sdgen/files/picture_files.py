"""Opening pictures that may be anything: what a user names is decoded, bounded, or refused in a sentence.

Bounds are checked before a decoder works: on the file's bytes, on its parts (``containers``), and on the size
that its header tells. Together they keep any input below a gigabyte of memory and five seconds.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from sdgen.errors import InputError
from sdgen.files import containers, foreign_pictures, library_logs, user_files

if TYPE_CHECKING:
    from PIL import Image

OWN_FORMATS: Sequence[str] = ("PNG", "WEBP", "JPEG")
"""Pillow's names of the formats that sdgen writes."""

FORMATS: Sequence[str] = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM")
"""Pillow's names of the formats that a user's picture may have. None runs programs or names other files."""

MOST_BYTES = 256_000_000
"""The most bytes of a picture's file."""

MOST_PIXELS = 8192 * 8192
"""The most pixels of a picture that is read: four times the area of the largest that sdgen draws."""

MOST_SLOW_PIXELS = 1024 * 1024
"""The most pixels of a picture whose decoder is written in Python."""

MOST_TILE_PIXELS = 4096 * 4096
"""The most pixels in a tile of a TIFF, which the decoder holds beside the picture."""

MOST_RAW_BYTES = 4 * MOST_PIXELS
"""The most bytes of a TIFF's pixels as they are stored: the decoder may hold all of them at once."""

_SLOW = ("ppm", "ppm_plain", "bmp_rle")
"""Names of Pillow's decoders that are written in Python."""

_TIFF_COMPRESSIONS = (
    *("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "jpeg"),
    *("group3", "group4", "tiff_ccitt", "tiff_raw_16"),
)
_TILE_WIDTH, _TILE_LENGTH, _BITS, _SAMPLES = 322, 323, 258, 277
"""Tags of TIFF 6.0."""

# Pillow logs what it raises as well; where nobody asked for logs, Python would print that.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_GREY_STEPS = {"L;2": 85, "L;4": 17}
"""The factors by which Pillow multiplies the greys of a PNG of 2 or 4 bits, but not its transparent grey."""


def decode(
    source: Path | bytes, name: str, formats: Sequence[str] = FORMATS, still: bool = False
) -> Image.Image:
    """The decoded picture of a file, as its decoder gives it: neither turned nor converted.

    Args:
        source: the file, or its bytes.
        name: what the messages call it.
        formats: those that are accepted.
        still: refuse animations, and files of several pages.

    Raises:
        InputError: it is not there, too large, damaged, or no such picture.
    """
    try:
        with opened(source, name, formats) as picture:
            _check_size(picture, name)
            if still:
                _check_still(picture, name)
            with library_logs.held_back() if picture.format == "TIFF" else contextlib.nullcontext():
                picture.load()
            # PNG's text may come after the pixels, and is read here, while the file is open.
            getattr(picture, "text", None)
            return picture
    except (MemoryError, InputError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly every class of error on damaged files.
        raise InputError(f"{name} {_reason(error, source, formats)}") from None


@contextlib.contextmanager
def opened(
    source: Path | bytes, name: str, formats: Sequence[str] = FORMATS, whole: bool = True
) -> Iterator[Image.Image]:
    """A picture that is not decoded yet, while its file is open; ``whole`` as for ``containers.check``.

    Raises:
        InputError: as ``open_file``, and where the file holds more than a picture needs.
        Exception: as Pillow does for what is no picture.
    """
    with _stream(source, name) as file, warnings.catch_warnings():
        # Pillow warns of sizes above its own limit; ours is below it.
        warnings.simplefilter("ignore")
        try:
            containers.check(file, whole)
        except ValueError as error:
            raise InputError(f"{name} is not read: {error}") from None
        from PIL import Image  # Not before the file is known to be there: it takes a while.

        picture = Image.open(file, formats=_known(formats))
        _scale_transparency(picture)
        yield picture


def open_file(path: Path, most: int, name: str | None = None) -> BinaryIO:
    """A file that a user named, opened for reading in binary; opening it never blocks.

    Args:
        path: links are followed.
        most: bytes that it may have.
        name: what the messages call it, where that is not the path.

    Raises:
        InputError: it is not there, no regular file, larger than ``most`` or cannot be read.
    """
    name = str(path) if name is None else name
    try:
        if os.path.isdir(path):
            raise InputError(f"{name} is a folder; name the files in it")
        return user_files.open_regular(path, most)
    except FileNotFoundError:
        raise InputError(f"{name} is not there") from None
    except PermissionError:
        raise InputError(f"{name} cannot be read: permission denied") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{name} cannot be read: {reason}") from None


def _stream(source: Path | bytes, name: str) -> BinaryIO:
    if not isinstance(source, bytes):
        return open_file(source, MOST_BYTES, name)
    if len(source) > MOST_BYTES:
        raise InputError(f"{name} has {len(source)} bytes; the most that is read is {MOST_BYTES}")
    return io.BytesIO(source)


def _known(formats: Sequence[str]) -> list[str]:
    """The formats among these that this Pillow can decode; old versions lack AVIF."""
    from PIL import Image

    Image.init()
    return [format for format in formats if format in Image.OPEN]


def _scale_transparency(picture: Any) -> None:
    """Give the transparent colour of a PNG the depth that its decoded pixels will have."""
    colour = picture.info.get("transparency")
    raw = picture.tile[0][3] if picture.format == "PNG" and getattr(picture, "tile", None) else None
    if isinstance(colour, int) and raw in _GREY_STEPS:
        picture.info["transparency"] = colour * _GREY_STEPS[raw]
    elif isinstance(colour, tuple) and raw == "RGB;16B":
        picture.info["transparency"] = tuple(value >> 8 for value in colour)


def _check_size(picture: Image.Image, name: str) -> None:
    """Refuse what would take too much memory or time to decode."""
    width, height = picture.size
    most = containers.MOST_WEBP_PIXELS if picture.format in ("WEBP", "AVIF") else MOST_PIXELS
    decoders = {tile[0] for tile in getattr(picture, "tile", ())}
    if decoders.intersection(_SLOW):
        most = MOST_SLOW_PIXELS
    if width * height > most:
        kind = "" if most == MOST_PIXELS else f" for this kind of {picture.format}; save it as PNG"
        raise InputError(f"{name} is {width}x{height}, too many pixels; the most is {most}{kind}")
    if picture.format == "TIFF":
        _check_tiff(picture, name)


def _check_tiff(picture: Any, name: str) -> None:
    tags = picture.tag_v2
    if (compression := picture.info.get("compression", "raw")) not in _TIFF_COMPRESSIONS:
        raise InputError(f"{name} is a TIFF compressed by {compression}, which is not read; save it as PNG")
    tile = int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0))
    if tile > MOST_TILE_PIXELS:
        raise InputError(f"{name} is a TIFF with tiles of {tile} pixels; the most is {MOST_TILE_PIXELS}")
    bits = tags.get(_BITS, (1,))
    deepest = max(bits) if isinstance(bits, tuple) else bits
    stored = picture.width * picture.height * int(tags.get(_SAMPLES, 1)) * int(deepest) // 8
    if stored > MOST_RAW_BYTES:
        raise InputError(f"{name} has {stored} bytes of pixels; the most that is read is {MOST_RAW_BYTES}")


def _check_still(picture: Any, name: str) -> None:
    """Refuse what shows several pictures, of which nobody said which one; a camera's MPO is its first."""
    if picture.format != "MPO" and getattr(picture, "is_animated", False):
        kind = "has several pages" if picture.format == "TIFF" else "is an animation"
        raise InputError(f"{name} {kind}; save the picture that is meant as a PNG")


def _reason(error: Exception, source: Path | bytes, formats: Sequence[str]) -> str:
    """What is wrong with a file of which Pillow raises this."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        names = [{"WEBP": "WebP"}.get(format, format) for format in _known(formats)]
        wanted = f"not a {', '.join(names[:-1])} or {names[-1]} image"
        head = b""
        with contextlib.suppress(OSError, InputError), _stream(source, "") as file:
            head = file.read(foreign_pictures.HEAD)
        if found := foreign_pictures.what(head):
            return f"is {found[0]}, {wanted}; {found[1]}"
        if foreign_pictures.format_of(head) in formats:
            return f"is a damaged {foreign_pictures.format_of(head)} and cannot be decoded"
        return f"is {wanted}"
    if isinstance(error, Image.DecompressionBombError):
        return f"has too many pixels; the most is {MOST_PIXELS}"
    return f"is damaged and cannot be decoded: {error}"
