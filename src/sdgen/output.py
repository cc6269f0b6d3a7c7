"""Files: an image and its sidecar, written whole or not at all, and never over another file.

Both are first written as ``.sdgen-*.tmp`` in the folder where they go, synced to the disk, then given
their names in one step each, the image first: a sidecar means a finished image, and a file under a final
name is whole. A temporary file also reserves its number, so that several processes share a folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sdgen import naming, whole_files
from sdgen.errors import InputError, OutputError
from sdgen.metadata import FORMATS, encode, sidecar
from sdgen.request import Request
from sdgen.whole_files import PREFIX, SUFFIX

if TYPE_CHECKING:
    from sdgen.results import Image

FOLDER = Path("outputs")
"""Where images go when nothing else is said, below the current folder."""

_ENDINGS = {".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}


@dataclasses.dataclass(frozen=True)
class Saved:
    """Where an image is: its file and its sidecar, None where none was wanted."""

    path: Path
    sidecar: Path | None


class Output:
    """Where the images of one run go: a folder with a name template, or one file.

    Args:
        folder: made when ``prepare`` is called.
        template: names in the folder.
        format: a name of ``metadata.FORMATS``.
        metadata: whether to write text into images and sidecars beside them.
        file_name: the one file of that folder, instead of a template.
    """

    def __init__(
        self,
        folder: Path = FOLDER,
        template: str = naming.DEFAULT,
        format: str = "png",
        metadata: bool = True,
        file_name: str | None = None,
    ) -> None:
        self.folder = folder
        self.template = naming.Template(template)
        self.format = format
        self.metadata = metadata
        self.file_name = file_name
        self._number = 0
        self._temporaries: tuple[Path, ...] = ()

    def prepare(self, images: int, bytes_each: int) -> None:
        """Make the folder and find out, before anything is drawn, whether images can be stored there.

        Args:
            images: how many will be.
            bytes_each: the most that one may need.

        Raises:
            OutputError: the folder cannot be made or written, the disk has too little space, or the one
                file is already there.
        """
        if os.path.exists(self.folder) and not os.path.isdir(self.folder):
            raise OutputError(f"{self.folder} is a file, not a folder; choose a folder with -o")
        with whole_files.explained(self.folder):
            whole_files.make_folder(self.folder)
            whole_files.remove_stale(self.folder)
            free = shutil.disk_usage(self.folder).free
            if self.file_name is not None:
                self._refuse_taken(self.file_name)
        if free < images * bytes_each:
            raise OutputError(
                f"{self.folder} has {free / 1e6:.0f} MB left and {images} images may need "
                f"{images * bytes_each / 1e6:.0f} MB; free some space or choose another folder with -o"
            )

    def save(self, image: Image, created: datetime | None = None) -> Saved:
        """Store one image and, with ``metadata``, its sidecar.

        Raises:
            OutputError: it cannot be stored; nothing of it is left under a final name.
        """
        assert image.pixels is not None
        request = image.request if self.metadata else None
        data = encode(image.pixels, self.format, request, image.details)
        created = created or datetime.now().astimezone()
        with whole_files.explained(self.folder), self._claim(image.request, created) as (name, temporary):
            record = sidecar_text(image, name, self.format, created) if self.metadata else None
            return place_pair(self.folder / name, data, record, temporary)

    def abandon(self) -> None:
        """Remove the temporary files of a ``save`` that will not be finished, before leaving the process."""
        for file in self._temporaries:
            with contextlib.suppress(OSError):
                file.unlink()

    @contextlib.contextmanager
    def _claim(self, request: Request, created: datetime) -> Iterator[tuple[str, Path]]:
        """A free file name, and the temporary file that keeps it ours until the block ends."""
        name, temporary = self._reserve(request, created)
        with self._held(temporary):
            yield name, temporary

    @contextlib.contextmanager
    def _held(self, temporary: Path) -> Iterator[None]:
        """Remove a temporary file and what waits beside it when the block, or the process, ends.

        Once, and the temporary file last: a name that is free again may be another process's reservation.
        """
        self._temporaries = (waiting_for(temporary), temporary)
        try:
            yield
        finally:
            self.abandon()
            self._temporaries = ()

    def _reserve(self, request: Request, created: datetime) -> tuple[str, Path]:
        if self.file_name is not None:
            self._refuse_taken(self.file_name)
            temporary = self._temporary()
            temporary.touch(exist_ok=False)
            return self.file_name, temporary
        values = naming.fields(request)
        values |= {"date": f"{created:%Y-%m-%d}", "time": f"{created:%H-%M-%S}"}
        if not self.template.numbered:
            self._number = 0
        while True:
            self._number += 1
            stem = self.template.stem({**values, "n": self._number})
            if not self.template.numbered and self._number > 1:
                stem = f"{stem}-{self._number}"
            key = f"{self._number:04}" if self.template.numbered else stem
            temporary = self.folder / f"{PREFIX}{key}{SUFFIX}"
            try:
                temporary.touch(exist_ok=False)
            except FileExistsError:
                continue
            # Looked at only now: a process that had the number before has placed its file by the time
            # its reservation is gone.
            taken = self._taken(stem)
            if not taken:
                return stem + FORMATS[self.format], temporary
            # Without hard links, the process that had it removes the name a second time.
            temporary.unlink(missing_ok=True)
            self._number = max(self._number, taken)

    def _taken(self, stem: str) -> int:
        """0 where the stem and its number are free, else the highest number that is in use."""
        with os.scandir(self.folder) as entries:
            stems = {os.path.splitext(entry.name)[0].casefold() for entry in entries}
        if self.template.numbered:
            highest = max((self.template.number(name) or 0 for name in stems), default=0)
            if highest >= self._number:
                return highest
        return self._number if stem.casefold() in stems else 0

    def _refuse_taken(self, file_name: str) -> None:
        path = self.folder / file_name
        for file in (path, path.with_suffix(".json")) if self.metadata else (path,):
            with contextlib.suppress(FileNotFoundError):
                file.lstat()
                raise OutputError(
                    f"{file} is already there and is not overwritten; give another name with -o"
                )

    def _temporary(self) -> Path:
        return whole_files.temporary(self.folder)


def place_pair(path: Path, data: bytes, record: bytes | None, temporary: Path) -> Saved:
    """Give an image and its sidecar their names, the image first; neither replaces a file.

    Args:
        path: of the image.
        data: the image file's bytes.
        record: the sidecar's; None for no sidecar.
        temporary: a file in the same folder to write to; another is written beside it (``waiting_for``). The
            caller removes both.

    Raises:
        OSError: as the system says; FileExistsError where a name is taken. Neither file is there then.
    """
    waiting = waiting_for(temporary)
    whole_files.write_synced(temporary, data)
    if record is not None:
        whole_files.write_synced(waiting, record)
    whole_files.place(temporary, path)
    beside = path.with_suffix(".json")
    if record is not None:
        try:
            whole_files.place(waiting, beside)
        except OSError:
            path.unlink()
            raise
    whole_files.sync_folder(path.parent)
    return Saved(path, None if record is None else beside)


def sidecar_text(
    image: Image, file_name: str, format: str, created: datetime, job: str | None = None
) -> bytes:
    """The sidecar of an image as it is written; the arguments are those of ``metadata.sidecar``."""
    assert image.pixels is not None
    record = sidecar(
        image.request,
        image.pixels,
        file_name=os.fsencode(file_name).decode(errors="replace"),
        format=format,
        seconds=image.seconds,
        warnings=image.warnings,
        details=image.details,
        created=created,
        job=job,
    )
    return f"{json.dumps(record, ensure_ascii=False, indent=2)}\n".encode()


def waiting_for(temporary: Path) -> Path:
    """Where the sidecar is written before it gets its name."""
    return temporary.with_name(temporary.name.removesuffix(SUFFIX) + "-json" + SUFFIX)


def is_file_name(target: str, option: str = "-o") -> bool:
    """Whether the value of an option such as ``-o`` names an image file, rather than a folder.

    Raises:
        InputError: it is empty, or has the ending of something else.
    """
    if not target:
        raise InputError(f"{option} is empty; name a folder or an image file, or leave it out", "output")
    path = Path(target)
    if target.endswith(("/", os.sep)) or os.path.isdir(path) or path.suffix == "":
        return False
    if path.suffix.lower() in _ENDINGS:
        return True
    raise InputError(
        f"{option} {target}: {path.suffix} is not an image format ({', '.join(_ENDINGS)}); "
        "end a folder's name with /",
        "output",
    )


def format_of(file_name: str) -> str:
    """The format that a file name's ending stands for."""
    return _ENDINGS[Path(file_name).suffix.lower()]
