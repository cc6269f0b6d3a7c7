"""Where a run's images go, as ``sdgen.batch.renderer`` sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from sdgen.batch.tasks import Task
from sdgen.errors import ImageError
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.images.image import Image
    from sdgen.images.image_and_sidecar import Saved


class Store(Protocol):
    """What ``sdgen.batch.batch_folder.BatchFolder`` documents."""

    @property
    def needs_model(self) -> bool: ...
    def find(self, task: Task, request: Request) -> Saved | None: ...
    def failure(self, task: Task, request: Request) -> ImageError | None: ...
    def claim(self, task: Task) -> bool: ...
    def release(self, task: Task) -> None: ...
    def save_task(self, task: Task, image: Image) -> Saved | None: ...
    def record_failure(self, task: Task, request: Request, error: ImageError) -> None: ...


class Sink:
    """A store that remembers nothing: every task is drawn, and its image handed to ``save``."""

    needs_model = True

    def __init__(self, save: Callable[[Image], Saved | None]) -> None:
        self._save = save

    def find(self, task: Task, request: Request) -> Saved | None:
        """None: nothing is looked for."""
        return None

    def failure(self, task: Task, request: Request) -> ImageError | None:
        """None: nothing is looked for."""
        return None

    def claim(self, task: Task) -> bool:
        """True: nobody else draws it."""
        return True

    def release(self, task: Task) -> None:
        """Does nothing: this store claims no names."""

    def save_task(self, task: Task, image: Image) -> Saved | None:
        """Hand the image on."""
        return self._save(image)

    def record_failure(self, task: Task, request: Request, error: ImageError) -> None:
        """A run that is repeated draws everything again."""
