"""Image files of sdgen's and of other tools: found, decoded, and the text that is in them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdgen.errors import InputError
from sdgen.files import exif, picture_files, user_files

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

ENDINGS = (".png", ".webp", ".jpg", ".jpeg")
"""The endings of the image files that are looked for in folders."""

MOST_TEXT = 1_000_000
"""Characters of a text in an image that are read: fifty times the longest prompt."""

SHEET = "sdgen grid"
"""What EXIF's Software says in a contact sheet of sdgen's."""

RECORD = "sdgen record"
"""What EXIF's Software says in a record of how a picture formed, or another animation."""

_FOOOCUS_SCHEMES = ("fooocus", "a1111")


def open_picture(path: Path) -> Image.Image:
    """The decoded picture of a PNG, WebP or JPEG file.

    Raises:
        InputError: the file is not there, too large, damaged or no such image.
    """
    return picture_files.decode(path, str(path), picture_files.OWN_FORMATS)


def rgb(picture: Image.Image) -> Image.Image:
    """The picture in the mode RGB; transparency is dropped."""
    with warnings.catch_warnings():
        # Pillow advises RGBA for palettes with transparency.
        warnings.simplefilter("ignore")
        return picture.convert("RGB")


def drawn(picture: Image.Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The pixels of a picture as sdgen drew it, uint8 (height, width, 3), or 4 where it has transparency."""
    import numpy as np

    alpha = "A" in picture.getbands() or "transparency" in picture.info
    return np.asarray(picture.convert("RGBA") if alpha else rgb(picture))


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
    return _software(path) == SHEET


def is_record(path: Path) -> bool:
    """Whether a file is a record of how a picture formed, or another animation of sdgen's."""
    try:
        with user_files.open_regular(path, picture_files.MOST_BYTES) as file:
            if file.read(6) == b"GIF89a":
                return RECORD.encode() in file.read(_GIF_HEAD)
    except (OSError, ValueError):
        return False
    return _software(path) == RECORD


_GIF_HEAD = 2048
"""Bytes before a GIF's pixels: its palette and its comment, or the beginning of it."""


def _software(path: Path) -> str | None:
    """What EXIF's Software says in an image file; None where that cannot be told."""
    try:
        with picture_files.opened(path, str(path), picture_files.OWN_FORMATS, whole=False) as picture:
            return _exif(picture).get(exif.SOFTWARE)
    except Exception:  # As in picture_files.decode.
        return None


def find(paths: Iterable[Path]) -> Iterator[Path]:
    """Image files: those that are named, and those below each folder, by name.

    Of a folder, hidden files, contact sheets and records are left out.

    Raises:
        InputError: a path is no readable file, or a folder cannot be listed.
    """
    for path in paths:
        if not os.path.isdir(path):
            picture_files.open_file(path, picture_files.MOST_BYTES).close()
            yield path
            continue
        for folder, below, files in os.walk(path, onerror=_refuse):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name in sorted(files):
                file = Path(folder, name)
                if name.startswith(".") or not name.lower().endswith(ENDINGS):
                    continue
                if _software(file) not in (SHEET, RECORD):
                    yield file


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
