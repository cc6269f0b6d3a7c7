"""The engines of a server: those it drew with last stay, as far as there is memory."""

from __future__ import annotations

import gc
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from sdgen import backend, models

if TYPE_CHECKING:
    from sdgen.pipeline.engine import Engine

_OF_WEIGHTS = 2.0
"""Memory that a model takes, as a multiple of its files: half precision may be made float32, and drawing
needs some."""


class Engines:
    """Loads models by name, and keeps them.

    Args:
        load: gives the engine of a model's name.
        size: bytes of a model's files.
        free: bytes of memory that are free for one more on the device of an engine; None where nobody knows.
    """

    def __init__(
        self,
        load: Callable[[str], Engine],
        size: Callable[[str], int] | None = None,
        free: Callable[[Engine], int | None] | None = None,
    ) -> None:
        self._load, self._size, self._free = load, size or weight_bytes, free or free_bytes
        self._kept: OrderedDict[str, Engine] = OrderedDict()

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the models that are loaded, that of the longest unused first."""
        return tuple(self._kept)

    def __call__(self, name: str) -> Engine:
        """The engine of a model; others give way to it where memory is short, the longest unused first.

        Raises:
            SdgenError: as ``load`` does.
        """
        if name not in self._kept:
            while self._kept and not self._fits(name):
                self._drop_one()
            try:
                self._kept[name] = self._load(name)
            except Exception as error:
                if not self._kept or not backend.is_out_of_memory(error):
                    raise
                while self._kept:
                    self._drop_one()
                self._kept[name] = self._load(name)
        self._kept.move_to_end(name)
        return self._kept[name]

    def _fits(self, name: str) -> bool:
        free = self._free(next(iter(self._kept.values())))
        return free is not None and self._size(name) * _OF_WEIGHTS <= free

    def _drop_one(self) -> None:
        self._kept.popitem(last=False)
        gc.collect()  # Keras' objects refer to each other.


def weight_bytes(name: str) -> int:
    """Bytes of the files of a model that is on this machine.

    Raises:
        ModelUnavailable: it is not.
    """
    path = models.locate(name, task=None)
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def free_bytes(engine: Engine) -> int | None:
    """Bytes that are free where an engine computes: of its device's memory, or of this machine's."""
    if not engine.device.startswith("cpu"):
        return backend.free_memory(engine.device)
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
