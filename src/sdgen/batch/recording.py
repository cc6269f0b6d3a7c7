"""A record of how each picture forms: gathered while it is drawn, written once it is stored."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdgen.batch.store import Store
from sdgen.batch.tasks import Task
from sdgen.errors import ImageError, OutputError
from sdgen.files import whole_files
from sdgen.images import animation, pictures
from sdgen.images.process import Process
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.images.image import Image
    from sdgen.images.image_and_sidecar import Saved
    from sdgen.pipeline.watching import View, Watch

BESIDE = ".process"
"""What a record's file name adds to that of its picture, before the ending."""


@dataclasses.dataclass(frozen=True)
class Recording:
    """What is recorded.

    Attributes:
        format: a value of ``animation.FORMATS``.
        kinds: what is shown, as for ``Process``.
        moments: how many steps of a picture are shown, at most.
        path: the one record's file; None for one beside each picture.
        described: as for ``Process.encode``.
        replace: whether an earlier record of that name gives way.
    """

    format: str
    kinds: tuple[str, ...]
    moments: int
    path: Path | None = None
    described: bool = True
    replace: bool = False

    @property
    def watch(self) -> Watch:
        """When the loop stops for it."""
        from sdgen.pipeline.watching import Watch

        return Watch(self.moments)

    def beside(self, picture: Path) -> Path:
        """Where the record of a picture goes."""
        if self.path is not None:
            return self.path
        ending = next(ending for ending, format in animation.FORMATS.items() if format == self.format)
        return picture.with_name(f"{picture.stem}{BESIDE}{ending}")

    def prepare(self) -> None:
        """Find out, before anything is drawn, whether the one record can be written.

        Raises:
            OutputError: it is there already, or its folder cannot be made or written.
        """
        if self.path is None:
            return
        self.refuse_taken(self.path)
        with whole_files.explained(self.path.parent, "--record"):
            whole_files.make_folder(self.path.parent)

    def refuse_taken(self, path: Path) -> None:
        """Refuse to write over what is there, but for an earlier record that is to give way.

        Raises:
            OutputError: it is there.
        """
        if os.path.lexists(path) and not (self.replace and pictures.is_record(path)):
            advice = "move it" if self.path is None else "give --record another name"
            raise OutputError(f"{path} is already there and is not overwritten; {advice}")


class RecordingStore:
    """A store that also writes how each of its images formed.

    Args:
        store: where the images go.
        recording: what is recorded.

    Attributes:
        written: the records' files.
        failures: sentences about records that could not be written; their images are stored.
    """

    def __init__(self, store: Store, recording: Recording) -> None:
        self._store, self._recording = store, recording
        self._forming: dict[int, Process] = {}
        self.written: list[Path] = []
        self.failures: list[str] = []

    def look(self, tasks: Sequence[Task], view: View) -> None:
        """Keep what the images of a batch look like, of those that are at a step that is shown."""
        for number, task in enumerate(tasks):
            step = view.steps[number]
            if step in self._recording.watch.steps(view.of[number]):
                values = {kind: view.values(number, kind) for kind in self._recording.kinds}
                process = self._forming.setdefault(task.number, Process(view.decoder, self._recording.kinds))
                process.add(step, view.of[number], values)

    def record(self, saved: Saved | None) -> Path | None:
        """The record of a stored image, if there is one."""
        path = self._recording.path if saved is None else self._recording.beside(saved.path)
        return path if path is not None and os.path.exists(path) else None

    @property
    def needs_model(self) -> bool:
        """As the store's."""
        return self._store.needs_model

    def find(self, task: Task, request: Request) -> Saved | None:
        """As ``store.find``; an image without its record is drawn again, to the same pixels."""
        saved = self._store.find(task, request)
        if saved is not None and not os.path.exists(self._recording.beside(saved.path)):
            return None
        return saved

    def failure(self, task: Task, request: Request) -> ImageError | None:
        """As the store's."""
        return self._store.failure(task, request)

    def claim(self, task: Task) -> bool:
        """As the store's."""
        return self._store.claim(task)

    def release(self, task: Task) -> None:
        """As ``store.release``; what was kept of the image is let go of."""
        self._forming.pop(task.number, None)
        self._store.release(task)

    def save_task(self, task: Task, image: Image) -> Saved | None:
        """Store the image, then its record."""
        saved = self._store.save_task(task, image)
        process = self._forming.pop(task.number, None)
        path = self._recording.path if saved is None else self._recording.beside(saved.path)
        if process is not None and path is not None:
            try:
                self._write(
                    path, process.encode(image, self._recording.format, described=self._recording.described)
                )
            except OutputError as error:
                self.failures.append(f"no record of {saved.path if saved else 'the image'}: {error}")
        return saved

    def record_failure(self, task: Task, request: Request, error: ImageError) -> None:
        """As the store's."""
        self._store.record_failure(task, request, error)

    def _write(self, path: Path, data: bytes) -> None:
        self._recording.refuse_taken(path)
        whole_files.write(path, data, os.path.lexists(path), "--record")
        self.written.append(path)
