"""Reading image files that may be anything: bounded, and one sentence about what is wrong."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sdgen.errors import InputError
from sdgen.files import user_files
from sdgen.images import containers, exif

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = (".png", ".webp", ".jpg", ".jpeg")
"""Of the image files that are looked for in folders."""

MOST_PIXELS = 8192 * 8192
"""Of an image that is read: four times the area of the largest that sdgen draws."""

MOST_WEBP_PIXELS = 8192 * 4096
"""Of a WebP, for which Pillow takes four times the memory of the picture."""

MOST_TEXT = 1_000_000
"""Characters of a text in an image that are read: fifty times the longest prompt."""

MOST_BYTES = 256_000_000
"""Of a file that is read."""

SHEET = "sdgen grid"
"""What EXIF's Software says in a contact sheet of sdgen's."""

_FORMATS = ("PNG", "WEBP", "JPEG")
_FOOOCUS_SCHEMES = ("fooocus", "a1111")


def open_picture(path: Path) -> Image.Image:
    """The decoded picture of a PNG, WebP or JPEG file.

    Raises:
        InputError: the file is not there, too large, damaged or no such image.
    """
    try:
        with _opened(path) as picture:
            width, height = picture.size
            most = MOST_WEBP_PIXELS if picture.format == "WEBP" else MOST_PIXELS
            if width * height <= most:
                picture.load()
                # PNG's text may come after the pixels, and is read here, while the file is open.
                getattr(picture, "text", None)
                return picture
    except (MemoryError, InputError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly every class of error on damaged files.
        raise InputError(f"{path} {_reason(error)}") from None
    raise InputError(f"{path} is {width}x{height}, too many pixels; the most is {most}")


@contextlib.contextmanager
def _opened(path: Path, whole: bool = True) -> Iterator[Image.Image]:
    """A picture that is not decoded yet, while its file is open; ``whole`` as for ``containers.check``.

    Raises:
        InputError: as ``open_file``, and where the file holds more than an image needs.
        Exception: as Pillow does for what is no image.
    """
    with open_file(path, MOST_BYTES) as file, warnings.catch_warnings():
        # Pillow warns of sizes above its own limit; ours is below it.
        warnings.simplefilter("ignore")
        try:
            containers.check(file, whole)
        except ValueError as error:
            raise InputError(f"{path} is not read: {error}") from None
        from PIL import Image  # Not before the file is known to be there: it takes a while.

        yield Image.open(file, formats=_FORMATS)


def _reason(error: Exception) -> str:
    """What is wrong with a file of which Pillow raises this."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "is not a PNG, WebP or JPEG image"
    if isinstance(error, Image.DecompressionBombError):
        return f"has too many pixels; the most is {MOST_PIXELS}"
    return f"is damaged and cannot be decoded: {error}"


def rgb(picture: Image.Image) -> Image.Image:
    """The picture in the mode RGB; transparency is dropped."""
    with warnings.catch_warnings():
        # Pillow advises RGBA for palettes with transparency.
        warnings.simplefilter("ignore")
        return picture.convert("RGB")


def texts(picture: Image.Image) -> dict[str, str]:
    """The text inside a picture, by name.

    PNG's text chunks; a JPEG's comment as ``Comment``; EXIF's UserComment as ``parameters`` and MakerNote as
    ``sdgen``, which is how sdgen and AUTOMATIC1111 write WebP and JPEG. Fooocus' MakerNote, which names the
    form of its UserComment, is ``fooocus_scheme``, as in its PNGs.
    """
    found = {str(name): _as_utf8(text[:MOST_TEXT]) for name, text in getattr(picture, "text", {}).items()}
    if isinstance(comment := picture.info.get("comment"), bytes):
        found["Comment"] = comment[:MOST_TEXT].decode("utf-8", errors="replace")
    fields = _exif(picture)
    note = fields.get(exif.MAKER_NOTE, "")
    for name, text in (
        ("parameters", fields.get(exif.USER_COMMENT)),
        ("fooocus_scheme" if note in _FOOOCUS_SCHEMES else "sdgen", note),
    ):
        if text:
            found.setdefault(name, text)
    return found


def is_sheet(path: Path) -> bool:
    """Whether a file is a contact sheet of sdgen's."""
    try:
        with _opened(path, whole=False) as picture:
            return _exif(picture).get(exif.SOFTWARE) == SHEET
    except Exception:  # As in open_picture.
        return False


def find(paths: Iterable[Path]) -> Iterator[Path]:
    """Image files: those that are named, and those below each folder, by name.

    Of a folder, hidden files and contact sheets are left out.

    Raises:
        InputError: a path is no readable file, or a folder cannot be listed.
    """
    for path in paths:
        if not os.path.isdir(path):
            open_file(path, MOST_BYTES).close()
            yield path
            continue
        for folder, below, files in os.walk(path, onerror=_refuse):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in sorted(files):
                file = Path(folder, name)
                if name.lower().endswith(ENDINGS) and not name.startswith(".") and not is_sheet(file):
                    yield file


def open_file(path: Path, most: int) -> BinaryIO:
    """A file that a user named, opened for reading in binary; it is never waited for.

    Args:
        path: links are followed.
        most: bytes that it may have.

    Raises:
        InputError: it is not there, no regular file, larger than ``most`` or cannot be read.
    """
    try:
        if os.path.isdir(path):
            raise InputError(f"{path} is a folder; name the files in it")
        return user_files.open_regular(path, most)
    except FileNotFoundError:
        raise InputError(f"{path} is not there") from None
    except PermissionError:
        raise InputError(f"{path} cannot be read: permission denied") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path} cannot be read: {reason}") from None


def _exif(picture: Image.Image) -> dict[int, str]:
    block = picture.info.get("exif")
    return exif.fields(block) if isinstance(block, bytes) else {}


def _as_utf8(text: str) -> str:
    """The text of a PNG chunk. A tEXt chunk is Latin-1, as which Pillow reads it, but tools put UTF-8 there;
    what is UTF-8 and not ASCII is hardly ever meant otherwise.
    """
    try:
        return str(text).encode("latin-1").decode("utf-8")
    except UnicodeError:
        return str(text)


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be listed: {error.strerror}")
