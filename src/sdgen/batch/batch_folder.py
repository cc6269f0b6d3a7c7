"""A folder in which every task of a batch has a file name of its own, so that a batch can be gone on with.

A name ends in the task's identity: what was asked for, the files that change the weights, and a format
other than png. Whoever runs the same batch again finds each task's image under the name where it would be
stored, whatever the order, the shard or the process that drew it. A task is claimed by a lock on a file
beside its image; the system drops the lock of a process that is killed.

A file under a task's name gives way to its image only if it is the task's: its sidecar has the task's
identity or, where a kill or damage left no sidecar, the image has the task's request inside. An image that
was to have neither (--no-metadata) is known by its name, its size and --force.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from sdgen.batch.tasks import Task
from sdgen.errors import ImageError, InputError, OutputError
from sdgen.files import json_text, whole_files
from sdgen.images import image_and_sidecar, naming, pictures
from sdgen.images.image_and_sidecar import Saved, is_whole, place_pair
from sdgen.images.image_files import FOLDER, Output, sidecar_text
from sdgen.images.metadata import FORMATS, encode
from sdgen.request import FIELDS, Request

if TYPE_CHECKING:
    from sdgen.images.image import Image

DEFAULT_NAME = "{slug}-{seed}-{digest}"
FAILED = ".failed"
"""Ending of the file that says why a task has no image."""

_LOCK = ".lock"
_OF_THE_MODEL = {name for name, field in FIELDS.items() if field.filled} - {"model"}
"""Fields that the model may have to fill in; the model itself is known."""


class BatchFolder(Output):
    """Where a batch's images go.

    Args:
        folder: made when ``prepare`` is called.
        template: names in the folder; ``{n}`` is a task's place in the whole job. One without ``{digest}``
            gets it at its end.
        format: a name of ``metadata.FORMATS``.
        metadata: whether to write text into images and sidecars beside them.
        changes: what else than the request decides how images look, JSON types by name.
        force: take no image for drawn that was there before.
        retry_failed: draw again what failed before.
        verify: decode images that are there and compare their pixels with the sidecar.

    Raises:
        InputError: the template is wrong, or would give another name at another time.
    """

    with_digest = True
    """Whether names tell tasks apart by themselves."""

    def __init__(
        self,
        folder: Path = FOLDER,
        template: str = DEFAULT_NAME,
        format: str = "png",
        metadata: bool = True,
        changes: Mapping[str, Any] | None = None,
        *,
        force: bool = False,
        retry_failed: bool = False,
        verify: bool = False,
    ) -> None:
        super().__init__(folder, template, format, metadata)
        if self.with_digest and "digest" not in self.template.fields:
            self.template = naming.Template(f"{template}-{{digest}}")
        if timed := self.template.fields & {"date", "time"}:
            raise InputError(
                f"--name {template!r}: a batch looks for its images by name when it goes on, so a name has "
                f"no {{{min(timed)}}}; leave it out",
                "name",
            )
        self._old = naming.Template(self.template.text, old=True)
        self._changes = {name: value for name, value in (changes or {}).items() if value}
        if format != "png":  # Images that differ in their format alone would have one sidecar.
            self._changes["format"] = format
        self._force, self._retry, self._verify = force, retry_failed, verify
        self._last: tuple[Task | None, str] = None, ""
        self._stored: set[str] = set()
        self._of_old: dict[Path, str] = {}
        self._claims: dict[str, filelock.BaseFileLock] = {}

    @property
    def needs_model(self) -> bool:
        """Whether names depend on what a model fills in."""
        return bool(self.template.fields & _OF_THE_MODEL)

    def prepare(self, images: int, bytes_each: int) -> None:
        """As ``Output.prepare``; also removes claims that killed processes left."""
        super().prepare(images, bytes_each)
        for file in self.folder.glob(f"{whole_files.PREFIX}*{_LOCK}"):
            with contextlib.suppress(OSError, filelock.Timeout), _lock(file):
                file.unlink()

    def identity(self, task: Task) -> str:
        """64 hexadecimal digits that stand for what a task asks for.

        Fields that have their default do not count, so that it stays the same when requests get more fields.
        """
        known, found = self._last
        if known is task:
            return found
        text = json.dumps([task.request.identity(), self._changes], sort_keys=True, separators=(",", ":"))
        found = hashlib.sha256(text.encode()).hexdigest()
        self._last = task, found
        return found

    def find(self, task: Task, request: Request) -> Saved | None:
        """The image of a task, if it and its sidecar are there and whole.

        Args:
            request: with what the model fills in, where ``needs_model``.
        """
        job = self.identity(task)
        if self._force and job not in self._stored:
            return None
        path = self.path(task, request)
        beside = path.with_suffix(".json")
        if not is_whole(path):
            return None
        if not self.metadata:
            return Saved(path, None)
        record = image_and_sidecar.read(beside)
        if record.get("job") != job or record.get("image") != path.name:
            return None
        if self._verify and not image_and_sidecar.agree(path, record):
            return None
        return Saved(path, beside)

    def failure(self, task: Task, request: Request) -> ImageError | None:
        """Why a task cannot be drawn, or has failed before; None if it is to be drawn."""
        path = self.path(task, request)
        if (conflict := self._conflict(path, task, request)) is not None:
            return ImageError(conflict)
        if self._retry or self._force:
            return None
        for name in {path, self._named(self._old, task, request)}:
            record = image_and_sidecar.read(name.with_suffix(FAILED))
            if record.get("job") == self.identity(task):
                why = f"{record.get('error')} (in an earlier run; --retry-failed draws it again)"
                return ImageError(why)
        return None

    def claim(self, task: Task) -> bool:
        """Make a task ours until ``release``; False where another process draws it.

        Raises:
            OutputError: the folder cannot be written, or has gone.
        """
        job = self.identity(task)
        if job in self._claims:
            return False
        lock = _lock(self.folder / f"{whole_files.PREFIX}{job[:32]}{_LOCK}")
        with whole_files.explained(self.folder):
            self._require_folder()
            try:
                lock.acquire()
            except filelock.Timeout:
                return False
            except NotImplementedError:  # A file system without locks: the names alone keep processes apart.
                pass
            try:
                self._require_folder()
            except OutputError:  # It went just now, and filelock made another for the lock.
                with contextlib.suppress(OSError):
                    os.unlink(lock.lock_file)
                    self.folder.rmdir()
                lock.release()
                raise
        self._claims[job] = lock
        return True

    def release(self, task: Task) -> None:
        """Let other processes have a task."""
        lock = self._claims.pop(self.identity(task), None)
        if lock is not None:
            with contextlib.suppress(OSError):
                os.unlink(lock.lock_file)
            lock.release()

    def save_task(self, task: Task, image: Image, created: datetime | None = None) -> Saved:
        """Store the image of a task, in place of an earlier one, which stays until this one is whole.

        Raises:
            OutputError: it cannot be stored.
            ImageError: a file that is not the task's is in the way.
        """
        assert image.pixels is not None
        data = encode(image.pixels, self.format, image.request if self.metadata else None, image.details)
        job, path = self.identity(task), self.path(task, image.request)
        beside = path.with_suffix(".json")
        created = created or datetime.now().astimezone()
        text = sidecar_text(image, path.name, self.format, created, job) if self.metadata else None
        temporary = self._temporary()
        with whole_files.explained(self.folder):
            self._require_folder()
            if (conflict := self._conflict(path, task, image.request)) is not None:
                raise ImageError(conflict)
            ours = [file for file in (path, beside) if os.path.lexists(file)]
            with self._held(temporary, replacing=path in ours):
                try:
                    saved = place_pair(path, data, text, temporary, ours)
                except FileExistsError:
                    raise ImageError(f"{path} has come while it was drawn, and is not overwritten") from None
            self._stored.add(job)
            if text is None and beside in ours:
                beside.unlink()
            for name in {path, self._named(self._old, task, image.request)}:
                if self._is_note(name.with_suffix(FAILED), job):
                    name.with_suffix(FAILED).unlink(missing_ok=True)
        return saved

    def record_failure(self, task: Task, request: Request, error: ImageError) -> None:
        """Note why a task has no image, for the next run.

        Raises:
            OutputError: the folder cannot be written.
        """
        record = {"job": self.identity(task), "error": str(error), "request": request.to_dict()}
        path = self.path(task, request).with_suffix(FAILED)
        with whole_files.explained(self.folder):
            self._require_folder()
        if not os.path.lexists(path) or self._is_note(path, self.identity(task)):
            whole_files.write(path, f"{json.dumps(record, indent=2)}\n".encode(), replace=True)

    def path(self, task: Task, request: Request) -> Path:
        """Where a task's image is stored, or is from before names changed; ``request`` as for ``find``."""
        path = self._named(self.template, task, request)
        if not os.path.lexists(path):
            old = self._named(self._old, task, request)
            if self._is_old(old, self.identity(task)):
                return old
        return path

    def clash(self, tasks: Iterable[Task]) -> tuple[Task, Task, Path] | None:
        """Two tasks whose images would have one name, on a file system that knows no case; names that need
        the model are not compared.
        """
        if self.needs_model:
            return None
        names: dict[str, Task] = {}
        for task in tasks:
            path = self._named(self.template, task, task.request)
            other = names.setdefault(unicodedata.normalize("NFC", path.stem).casefold(), task)
            if other is not task and self.identity(other) != self.identity(task):
                return other, task, path
        return None

    def _named(self, template: naming.Template, task: Task, request: Request) -> Path:
        values = {**naming.fields(request, self.identity(task)), "n": task.number}
        return self.folder / (template.stem(values) + FORMATS[self.format])

    def _is_old(self, path: Path, job: str) -> bool:
        """Whether a task's image is under the name that it had when digests were shorter."""
        if self.metadata:
            return image_and_sidecar.read(path.with_suffix(".json")).get("job") == job
        # Nothing says whose it is: it is that of the first that asks.
        return is_whole(path) and self._of_old.setdefault(path, job) == job

    def _is_note(self, path: Path, job: str) -> bool:
        """Whether a file says why a task has failed, or is one that cannot be read."""
        return os.path.isfile(path) and image_and_sidecar.read(path).get("job", job) == job

    def _conflict(self, path: Path, task: Task, request: Request) -> str | None:
        """Why a task's image must not be stored under its name: there is a file that is not the task's."""
        beside = path.with_suffix(".json")
        there = [file for file in (path, beside) if os.path.lexists(file)]
        for file in there:
            if not os.path.isfile(file):
                return f"{file} is in the way, and is no file; move it"
        record = image_and_sidecar.read(beside) if beside in there else {}
        if "job" in record:
            if record["job"] == self.identity(task):
                return None
            return f"{path} is another task's image; add {{seed}} or {{n}} to --name"
        # What a sidecar has that tells of no task is somebody's, unless it is damaged and its image is not.
        if there and (record or path not in there or not self._draws(path, request)):
            return f"{there[0]} is in the way, and nothing says that it is this task's; move it"
        return None

    def _draws(self, path: Path, request: Request) -> bool:
        """Whether an image without a sidecar is of a request."""
        try:
            picture = pictures.open_picture(path)
        except InputError:
            return False
        inside = pictures.texts(picture).get("sdgen")
        if inside is None:
            return self._force and not self.metadata and picture.size == request.stored_size
        with contextlib.suppress(ValueError):
            return image_and_sidecar.request(json_text.parse_object(inside)) == request
        return False


def _lock(file: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(file, timeout=0, thread_local=False)
