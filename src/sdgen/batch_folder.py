"""A folder in which every task of a batch has a file name of its own, so that a batch can be gone on with.

A name ends in the task's identity: what was asked for, the files that change the weights, and a format
other than png. Whoever runs the same batch again finds each task's image under the name where it would be
stored, whatever the order, the shard or the process that drew it. A task is claimed by a lock on a file
beside its image; the system drops the lock of a process that is killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from sdgen import naming, whole_files
from sdgen.errors import ImageError, InputError, OutputError
from sdgen.metadata import FORMATS, encode, pixels_sha256
from sdgen.output import FOLDER, Output, Saved, place_pair, sidecar_text
from sdgen.request import Request
from sdgen.tasks import Task

if TYPE_CHECKING:
    from sdgen.results import Image

DEFAULT_NAME = "{slug}-{seed}-{digest}"
FAILED = ".failed"
"""Ending of the file that says why a task has no image."""

_LOCK = ".lock"
_OF_THE_MODEL = {"steps", "sampler", "guidance", "width", "height"}
"""Template fields that the model may have to fill in."""


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
        if "digest" not in self.template.fields:
            self.template = naming.Template(f"{template}-{{digest}}")
        if timed := self.template.fields & {"date", "time"}:
            raise InputError(
                f"--name {template!r}: a batch looks for its images by name when it goes on, so a name has "
                f"no {{{min(timed)}}}; leave it out",
                "name",
            )
        self._changes = {name: value for name, value in (changes or {}).items() if value}
        if format != "png":  # Images that differ in their format alone would have one sidecar.
            self._changes["format"] = format
        self._force, self._retry, self._verify = force, retry_failed, verify
        self._stored: set[str] = set()
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
        asked = {
            field.name: getattr(task.request, field.name)
            for field in dataclasses.fields(Request)
            if getattr(task.request, field.name) != field.default
        }
        text = json.dumps([asked, self._changes], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

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
        record = _read_json(beside)
        if record.get("job") != job or record.get("image") != path.name:
            return None
        if self._verify and not _pixels_agree(path, record):
            return None
        return Saved(path, beside)

    def failure(self, task: Task, request: Request) -> ImageError | None:
        """Why a task has failed before; None where it has not, or shall be drawn again."""
        if self._retry or self._force:
            return None
        record = _read_json(self.path(task, request).with_suffix(FAILED))
        if record.get("job") != self.identity(task):
            return None
        return ImageError(f"{record.get('error')} (in an earlier run; --retry-failed draws it again)")

    def claim(self, task: Task) -> bool:
        """Make a task ours until ``release``; False where another process draws it.

        Raises:
            OutputError: the folder cannot be written.
        """
        job = self.identity(task)
        if job in self._claims:
            return False
        lock = _lock(self.folder / f"{whole_files.PREFIX}{job[:32]}{_LOCK}")
        with whole_files.explained(self.folder):
            try:
                lock.acquire()
            except filelock.Timeout:
                return False
            except NotImplementedError:  # A file system without locks: the names alone keep processes apart.
                pass
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
        """Store the image of a task, in place of what may be left of an earlier one.

        Raises:
            OutputError: it cannot be stored, or another task's image is in the way.
        """
        assert image.pixels is not None
        data = encode(image.pixels, self.format, image.request if self.metadata else None, image.details)
        job, path = self.identity(task), self.path(task, image.request)
        created = created or datetime.now().astimezone()
        text = sidecar_text(image, path.name, self.format, created, job) if self.metadata else None
        temporary = self._temporary()
        with whole_files.explained(self.folder), self._held(temporary):
            self._make_room(path, job)
            saved = place_pair(path, data, text, temporary)
        self._stored.add(job)
        return saved

    def record_failure(self, task: Task, request: Request, error: ImageError) -> None:
        """Note why a task has no image, for the next run.

        Raises:
            OutputError: the folder cannot be written.
        """
        record = {"job": self.identity(task), "error": str(error), "request": request.to_dict()}
        path = self.path(task, request).with_suffix(FAILED)
        whole_files.write(path, f"{json.dumps(record, indent=2)}\n".encode(), replace=True)

    def path(self, task: Task, request: Request) -> Path:
        """Where a task's image is stored; ``request`` as for ``find``."""
        values = {**naming.fields(request), "n": task.number, "digest": self.identity(task)}
        return self.folder / (self.template.stem(values) + FORMATS[self.format])

    def _make_room(self, path: Path, job: str) -> None:
        """Remove what a task's names have: what is torn, what --force replaces, why it failed."""
        beside = path.with_suffix(".json")
        other = _read_json(beside).get("job", job)
        if other != job:
            raise OutputError(f"{path} is another task's image; add {{seed}} or {{n}} to --name")
        # The sidecar goes first: without one, the image counts as not drawn.
        for file in (beside, path, path.with_suffix(FAILED)):
            file.unlink(missing_ok=True)


def is_whole(path: Path) -> bool:
    """Whether an image file is there and has its format's beginning and end."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 12))
            tail = file.read()
    except OSError:
        return False
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return tail == b"\0\0\0\0IEND\xaeB`\x82"
    if head.startswith(b"RIFF"):
        return head[8:] == b"WEBP" and int.from_bytes(head[4:8], "little") + 8 == size
    return head.startswith(b"\xff\xd8") and tail.endswith(b"\xff\xd9")


def _pixels_agree(path: Path, record: Mapping[str, Any]) -> bool:
    """Whether an image decodes, and to the pixels that its sidecar tells where its format keeps them."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError):
        return False
    return path.suffix != ".png" or pixels_sha256(pixels) == record.get("pixels_sha256")


def _lock(file: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(file, timeout=0, thread_local=False)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
