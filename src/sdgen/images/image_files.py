"""Files: an image and its sidecar, written whole or not at all, and never over another file.

Both are first written as ``.sdgen-*.tmp`` in the folder where they go, synced to the disk, then given
their names in one step each, the image first: a sidecar means a finished image, and a file under a final
name is whole. A temporary file also reserves its number, so that several processes share a folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdgen.errors import InputError, OutputError
from sdgen.files import whole_files
from sdgen.files.whole_files import PREFIX, SUFFIX
from sdgen.images import image_and_sidecar, naming
from sdgen.images.image_and_sidecar import Saved, place_pair, waiting_for
from sdgen.images.metadata import FORMATS, encode, sidecar
from sdgen.request import Request
from sdgen.text.plurals import counted

if TYPE_CHECKING:
    from sdgen.images.image import Image

FOLDER = Path("outputs")
"""Where images go when nothing else is said, below the current folder."""

_ENDINGS = {".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}


class Output:
    """Where the images of one run go: a folder with a name template, or one file.

    Args:
        folder: made when ``prepare`` is called.
        template: names in the folder.
        format: a name of ``metadata.FORMATS``.
        metadata: whether to write text into images and sidecars beside them.
        file_name: the one file of that folder, instead of a template.
        overwrite: let an image of that name, and its sidecar, give way once the new one is whole.
    """

    def __init__(
        self,
        folder: Path = FOLDER,
        template: str = naming.DEFAULT,
        format: str = "png",
        metadata: bool = True,
        file_name: str | None = None,
        overwrite: bool = False,
    ) -> None:
        self.folder = folder
        self.template = naming.Template(template)
        self.format = format
        self.metadata = metadata
        self.file_name = file_name
        self.overwrite = overwrite
        self._number = 0
        self._no_numbers: set[str] = set()
        self._temporaries: tuple[Path, ...] = ()
        self._replacing = False
        self._inode: tuple[int, int] | None = None

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
            self._inode = _inode(self.folder)
            image_and_sidecar.complete(self.folder)
            whole_files.remove_stale(self.folder)
            free = shutil.disk_usage(self.folder).free
            if self.file_name is not None:
                self._refuse_taken(self.file_name)
        if free < images * bytes_each:
            raise OutputError(
                f"{self.folder} has {free / 1e6:.0f} MB left and {counted(images, 'image')} may need "
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
        self._require_folder()
        with whole_files.explained(self.folder), self._claim(image.request, created) as (name, temporary):
            record = sidecar_text(image, name, self.format, created) if self.metadata else None
            path = self.folder / name
            gives_way = self._gives_way(path) if self.overwrite else ()
            saved = place_pair(path, data, record, temporary, gives_way)
            for file in gives_way:
                if file not in (path, saved.sidecar):
                    file.unlink(missing_ok=True)
        return saved

    def abandon(self) -> None:
        """Remove the temporary files of a ``save`` that will not be finished, before leaving the process."""
        for file in self._temporaries:
            try:
                file.unlink()
            except FileNotFoundError:
                if self._replacing:  # The image has its name: the sidecar waits for the next run to name it.
                    return
            except OSError:
                pass

    @contextlib.contextmanager
    def _claim(self, request: Request, created: datetime) -> Iterator[tuple[str, Path]]:
        """A free file name, and the temporary file that keeps it ours until the block ends."""
        name, temporary = self._reserve(request, created)
        with self._held(temporary, replacing=self.overwrite):
            yield name, temporary

    @contextlib.contextmanager
    def _held(self, temporary: Path, replacing: bool = False) -> Iterator[None]:
        """Remove a temporary file and what waits beside it when the block, or the process, ends.

        Once, and the temporary file last: a name that is free again may be another process's reservation.
        One that is to replace a file reserves nothing, and comes first: see ``abandon``.
        """
        waiting = waiting_for(temporary)
        self._replacing = replacing
        self._temporaries = (temporary, waiting) if replacing else (waiting, temporary)
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
            stems = {os.path.splitext(entry.name)[0] for entry in entries}
        if self.template.numbered:
            numbers = {name: self.template.number(name) or 0 for name in stems - self._no_numbers}
            for name in sorted(numbers, key=numbers.__getitem__, reverse=True):
                if numbers[name] < self._number:
                    break
                if self.template.number(name, self._recorded(name)) is not None:
                    return numbers[name]
                self._no_numbers.add(name)
        taken = {name.casefold() for name in stems}
        return self._number if stem.casefold() in taken else 0

    def _recorded(self, stem: str) -> dict[str, Any] | None:
        """The template's fields of an image of ours, as its sidecar has them."""
        request = image_and_sidecar.request(image_and_sidecar.read(self.folder / f"{stem}.json"))
        return None if request is None else naming.fields(request)

    def _refuse_taken(self, file_name: str) -> None:
        path = self.folder / file_name
        if self.overwrite:
            self._gives_way(path)
            return
        for file in (path, path.with_suffix(".json")) if self.metadata else (path,):
            if _is_there(file):
                raise OutputError(
                    f"{file} is already there and is not overwritten; give another name with -o"
                )

    def _gives_way(self, path: Path) -> list[Path]:
        """The files that a new image takes the place of: what has its name, and the sidecar of that.

        Raises:
            OutputError: one is no file, or is no sidecar of that image.
        """
        beside = path.with_suffix(".json")
        there = [file for file in (path, beside) if _is_there(file)]
        for file in there:
            if not os.path.isfile(file):
                raise OutputError(f"{file} is no file, and is not overwritten; give another name with -o")
        if beside not in there:
            return there
        record = image_and_sidecar.read(beside)
        if str(record.get("schema")).startswith("sdgen-sidecar-") and record.get("image") == path.name:
            return there
        if self.metadata:
            raise OutputError(
                f"{beside} is not the sidecar of {path.name}, and is not overwritten; give another name with "
                "-o, or --no-metadata"
            )
        return [file for file in there if file != beside]

    def _require_folder(self) -> None:
        """Refuse a folder that is no longer the one that ``prepare`` found or made.

        Raises:
            OutputError: it is not there, or it is another.
        """
        with whole_files.explained(self.folder), contextlib.suppress(FileNotFoundError):
            if self._inode in (None, _inode(self.folder)):
                return
        raise OutputError(
            f"{self.folder} was moved or removed while images were drawn; move it back, or choose another "
            "folder with -o"
        )

    def _temporary(self) -> Path:
        return whole_files.temporary(self.folder)


def _inode(folder: Path) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _is_there(path: Path) -> bool:
    """Whether a name is taken, be it by a link to nothing. OSError where it could not even be looked for."""
    with contextlib.suppress(FileNotFoundError):
        path.lstat()
        return True
    return False


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
