"""Names for pictures made of other pictures: they keep the others' names, and a later run finds them."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sdgen.batch.batch_folder import BatchFolder
from sdgen.batch.tasks import Task
from sdgen.errors import ImageError, InputError
from sdgen.images import image_and_sidecar, naming
from sdgen.images.image_and_sidecar import Saved
from sdgen.images.metadata import FORMATS
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.images.image import Image

MOST_NAMESAKES = 1000
"""Pictures of one name in one run."""


class KeptNames(BatchFolder):
    """A batch's folder whose names have no digest: ``fox.png``, and ``fox-2.png`` where that is taken.

    Whose a file is, its sidecar tells; without one it is somebody else's. So nothing is ever written over,
    and without metadata nothing is found again. Of two files that show the same, each gets its own.
    """

    with_digest = False

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self._taken_here: dict[str, str] = {}

    def identity(self, task: Task) -> str:
        """As ``BatchFolder.identity``; the name of the file that was started from counts, too."""
        stem = naming.fields(task.request)["image"]
        return hashlib.sha256(f"{super().identity(task)} {stem}".encode(errors="surrogateescape")).hexdigest()

    def save_task(self, task: Task, image: Image, created: datetime | None = None) -> Saved:
        """As ``BatchFolder.save_task``, under the next name where another process has just taken this one."""
        while True:
            path = self.path(task, image.request)
            try:
                return super().save_task(task, image, created)
            except ImageError:
                if self.path(task, image.request) == path:
                    raise

    def find(self, task: Task, request: Request) -> Saved | None:
        """As ``BatchFolder.find``; None without metadata, but of what this run has stored."""
        if not self.metadata and self.identity(task) not in self._stored:
            return None
        return super().find(task, request)

    def path(self, task: Task, request: Request) -> Path:
        """The first name, counted up from the template's, that is free or the task's own.

        Raises:
            InputError: there are more than ``MOST_NAMESAKES``.
        """
        job = self.identity(task)
        stem = self._named(self.template, task, request).stem
        for number in range(1, MOST_NAMESAKES + 1):
            path = self.folder / f"{stem if number == 1 else f'{stem}-{number}'}{FORMATS[self.format]}"
            key = unicodedata.normalize("NFC", path.stem).casefold()
            if (other := self._taken_here.get(key)) not in (None, job):
                continue
            if _is_free(path, job) or (other == job and job in self._stored):
                self._taken_here[key] = job
                return path
        raise InputError(f"there are {MOST_NAMESAKES:,} pictures called {stem}; add {{n}} to --name", "name")

    def clash(self, tasks: Iterable[Task]) -> tuple[Task, Task, Path] | None:
        """None: names are counted up."""
        return None


def _is_free(path: Path, job: str) -> bool:
    """Whether a name is nobody's, or this job's."""
    beside = path.with_suffix(".json")
    there = os.path.lexists(path) or os.path.lexists(beside)
    return not there or image_and_sidecar.read(beside).get("job") == job
