"""A server in a thread of its own on a free port of the loopback, drawing with the stand-in engine."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from serving import PATIENCE, Held

from sdgen.serve import server
from sdgen.serve.drawer import Drawer
from sdgen.serve.jobs.folder import JobFolder
from sdgen.serve.jobs.running import Jobs
from sdgen.serve.metrics import Metrics
from sdgen.serve.service import Service
from sdgen.serve.settings import Settings


class Served:
    """A running server; ``url`` is where, ``engine`` what it draws with."""

    def __init__(self, settings: Settings, engine: Any, jobs: Path | None = None) -> None:
        metrics = Metrics()
        self.engine = engine
        self.drawer = Drawer(lambda model: engine, most=settings.limits.waiting, observed=metrics.drawn)
        self.jobs = None if jobs is None else Jobs(self.drawer, JobFolder(jobs), settings.limits.jobs_waiting)
        self.service = Service(settings, self.drawer, metrics, ready=True)
        self.socket = server.listen("127.0.0.1", 0)
        self.port, self.url = self.socket.getsockname()[1], server.url_of(self.socket)
        self.server = server.Server(self.service, grace=5, jobs=self.jobs)
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)

    def start(self) -> None:
        if self.jobs is not None:
            self.jobs.go_on()
        self.drawer.start()
        self.thread.start()

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits until something holds."""
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, "it has not come to hold"
            time.sleep(0.005)

    def stop(self) -> None:
        self.server.should_exit = True
        if isinstance(self.engine, Held):
            self.engine.permits.release(1000)
        self.drawer.stop(PATIENCE)
        if self.jobs is not None:
            self.jobs.close()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def served(
    settings: Settings | None = None, engine: Any = None, jobs: Path | None = None
) -> Iterator[Served]:
    """A server until the block ends; ``jobs`` is their folder, where it has jobs."""
    running = Served(settings or Settings(models=("mini",)), engine or Held(held=False), jobs)
    running.start()
    try:
        yield running
    finally:
        running.stop()
