"""An image and its sidecar: given their names together, and put right after a kill between the two.

Both are written and synced under temporary names before either gets its own. The image comes first, so a
sidecar always tells of an image that is there; of a pair that is drawn again, the earlier sidecar stays until
the new one takes its place. Whatever step is the last, there are a whole image and a whole sidecar under the
final names if there were any before. What was written and not yet named is named by ``complete``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sdgen.errors import InputError, SdgenError
from sdgen.files import json_text, user_files, whole_files
from sdgen.files.whole_files import PREFIX, SUFFIX
from sdgen.images import pictures
from sdgen.images.metadata import pixels_sha256
from sdgen.request import FIELDS, Request

MOST_BYTES = 4_000_000
"""The most bytes of a sidecar that is read."""

_WAITING = "-json"


@dataclasses.dataclass(frozen=True)
class Saved:
    """Where an image is: its file and its sidecar, None where none was wanted."""

    path: Path
    sidecar: Path | None


def place_pair(
    path: Path, data: bytes, record: bytes | None, temporary: Path, replace: Collection[Path] = ()
) -> Saved:
    """Give an image and its sidecar their names, the image first.

    Args:
        path: of the image.
        data: the image file's bytes.
        record: the sidecar's; None for no sidecar.
        temporary: a file in the same folder to write to; another is written beside it (``waiting_for``). The
            caller removes both, but not the second alone: see ``complete``.
        replace: which of the two names may have a file that gives way.

    Raises:
        OSError: as the system says; FileExistsError where a name is taken. What was there before still is,
            and where nothing was, nothing is; but an image that has taken the place of another stays.
    """
    waiting, beside = waiting_for(temporary), path.with_suffix(".json")
    whole_files.write_synced(temporary, data)
    if record is not None:
        whole_files.write_synced(waiting, record)
    _name(temporary, path, path in replace)
    if record is not None:
        try:
            _name(waiting, beside, beside in replace)
        except OSError:
            # Another process may have taken us for killed, and done it.
            if not _reads(beside, record):
                if path not in replace:
                    path.unlink()
                    waiting.unlink(missing_ok=True)
                raise
    if path in replace:
        waiting.unlink(
            missing_ok=True
        )  # A link has left it, and it would be taken for one still to be named.
    whole_files.sync_folder(path.parent)
    return Saved(path, None if record is None else beside)


def waiting_for(temporary: Path) -> Path:
    """Where the sidecar is written before it gets its name."""
    return temporary.with_name(temporary.name.removesuffix(SUFFIX) + _WAITING + SUFFIX)


def complete(folder: Path) -> None:
    """Give the sidecars their names that a process was killed, or failed, before it could name."""
    for waiting in folder.glob(f"{PREFIX}*{_WAITING}{SUFFIX}"):
        with contextlib.suppress(OSError, ValueError):  # The latter of a name that no file can have.
            _complete(waiting)


def read(path: Path) -> dict[str, Any]:
    """The object in a sidecar or another small JSON file; empty where there is none that can be read."""
    try:
        return json_text.parse_object(user_files.read_regular(path, MOST_BYTES))
    except (OSError, ValueError, SdgenError):
        return {}


def request(record: Mapping[str, Any]) -> Request | None:
    """The request in a sidecar, or in the text of an image; None if there is none that can be drawn."""
    try:
        return Request.from_dict({name: record[name] for name in FIELDS if name in record})
    except InputError:
        return None


def is_whole(path: Path) -> bool:
    """Whether an image file is there and has its format's beginning and end."""
    try:
        with user_files.open_regular(path) as file:
            head = file.read(12)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 12))
            tail = file.read(12)
    except (OSError, SdgenError):
        return False
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return tail == b"\0\0\0\0IEND\xaeB`\x82"
    if head.startswith(b"RIFF"):
        return head[8:] == b"WEBP" and int.from_bytes(head[4:8], "little") + 8 == size
    return head.startswith(b"\xff\xd8") and tail.endswith(b"\xff\xd9")


def agree(path: Path, record: Mapping[str, Any]) -> bool:
    """Whether an image decodes, and to the pixels that its sidecar tells where its format keeps them."""
    try:
        pixels = pictures.drawn(pictures.open_picture(path))
    except InputError:
        return False
    return path.suffix != ".png" or pixels_sha256(pixels) == record.get("pixels_sha256")


def _name(temporary: Path, path: Path, replace: bool) -> None:
    if replace:
        os.replace(temporary, path)
    else:
        whole_files.place(temporary, path)


def _complete(waiting: Path) -> None:
    record = read(waiting)
    name = record.get("image")
    if not isinstance(name, str) or Path(name).name != name:
        return
    path = waiting.with_name(name)
    beside = path.with_suffix(".json")
    temporary = waiting.with_name(waiting.name.removesuffix(_WAITING + SUFFIX) + SUFFIX)
    # An image that has its name is no longer under the temporary one, or under both.
    if os.path.lexists(temporary) and not os.path.samefile(temporary, path):
        return
    if not agree(path, record):
        return
    there = read(beside)
    same = all(there.get(field) == record.get(field) for field in ("image", "job", "schema"))
    _name(waiting, beside, replace=bool(there) and same)
    waiting.unlink(missing_ok=True)


def _reads(path: Path, data: bytes) -> bool:
    try:
        return user_files.read_regular(path, MOST_BYTES) == data
    except (OSError, SdgenError):
        return False
