"""``Service``: what the APIs of a server share."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from sdgen.serve.bodies import Bodies
from sdgen.serve.drawer import Drawer
from sdgen.serve.metrics import Metrics
from sdgen.serve.settings import Settings


class Files:
    """Pictures that are fetched by a name that nobody can guess, for a while: the last ones, and no older.

    Args:
        most: bytes of all of them.
        seconds: after which one is gone.
        clock: seconds since some moment.
    """

    def __init__(
        self,
        most: int = 256_000_000,
        seconds: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._files: OrderedDict[str, tuple[float, bytes, str]] = OrderedDict()
        self._bytes = 0

    def add(self, data: bytes, kind: str) -> str:
        """Keep a file of a media type; its name."""
        name = secrets.token_urlsafe(24)
        self._files[name] = self._clock(), data, kind
        self._bytes += len(data)
        self._forget()
        return name

    def get(self, name: str) -> tuple[bytes, str] | None:
        """A file and its media type; None where there is none of that name any more."""
        self._forget()
        found = self._files.get(name)
        return None if found is None else found[1:]

    def _forget(self) -> None:
        oldest = self._clock() - self._seconds
        while self._files:
            came, data, _ = next(iter(self._files.values()))
            if came >= oldest and (self._bytes <= self._most or len(self._files) == 1):
                return
            self._files.popitem(last=False)
            self._bytes -= len(data)


@dataclasses.dataclass
class Service:
    """What the APIs of a server share.

    Attributes:
        settings: what the server was told when it started.
        drawer: draws for all.
        metrics: counts.
        bodies: reads what is sent.
        files: pictures that are fetched by URL.
        ready: whether the first model is loaded, and the server is not stopping.
        stopping: whether the server was told to stop.
    """

    settings: Settings
    drawer: Drawer
    metrics: Metrics
    files: Files = dataclasses.field(default_factory=Files)
    ready: bool = False
    stopping: bool = False

    def __post_init__(self) -> None:
        self.bodies = Bodies(self.settings.limits)
