"""``Jobs``: what is drawn whether or not anybody waits for it, and goes on after a restart."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from sdgen.batch.batch_folder import BatchFolder
from sdgen.batch.tasks import Task
from sdgen.errors import ImageError, SdgenError
from sdgen.request import Request
from sdgen.serve import refusals
from sdgen.serve.drawer import Drawer
from sdgen.serve.drawing import Drawing, Drawn, Dropped, Event, Failed, Stage, Stepped
from sdgen.serve.jobs.folder import CANCELLED, FINISHED, JobFolder, Record
from sdgen.serve.refusals import RETRY, Refusal

LOG = logging.getLogger("sdgen")

MOST_AHEAD = 16
"""Pictures of jobs that are in the drawer at once: two full batches. The rest waits on disk."""

_REMEMBERED = 256
"""Finished jobs that are kept in memory; others are read again."""

_BYTES_EACH = 8_000_000
"""Room on the disk that is asked for each picture."""


@dataclasses.dataclass
class Picture:
    """One picture of a job.

    Attributes:
        stage: where it is.
        path: its file, once it is drawn.
        error: why there is none.
    """

    stage: Stage = Stage.WAITING
    path: Path | None = None
    error: str | None = None
    drawing: Drawing | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing more will become of it."""
        return self.stage not in (Stage.WAITING, Stage.DRAWING)

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        if self.settled:
            return 1.0
        return 0.0 if self.drawing is None else self.drawing.share


class Job:
    """A job, and where its pictures are; to be read from any thread."""

    def __init__(self, record: Record, images: BatchFolder) -> None:
        self.record, self.images = record, images
        self.tasks = [Task(request, number) for number, request in enumerate(record.requests, 1)]
        self.pictures = [Picture() for _ in self.tasks]
        self.cancelled = False
        self.watchers: set[Callable[[], None]] = set()

    @property
    def finished(self) -> bool:
        """Whether nothing more will become of it."""
        return all(picture.settled for picture in self.pictures)

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        return sum(picture.share for picture in self.pictures) / len(self.pictures)

    @property
    def status(self) -> str:
        """One word: waiting, drawing, done, failed (nothing came of it) or cancelled."""
        if self.cancelled:
            return "cancelled"
        stages = {picture.stage for picture in self.pictures}
        if self.finished:
            return "failed" if stages == {Stage.FAILED} else "done"
        return "waiting" if stages == {Stage.WAITING} else "drawing"

    def look(self) -> None:
        """See which pictures are there, or have failed before."""
        for task, picture in zip(self.tasks, self.pictures, strict=True):
            if (saved := self.images.find(task, task.request)) is not None:
                picture.stage, picture.path = Stage.DRAWN, saved.path
            elif (error := self.images.failure(task, task.request)) is not None:
                picture.stage, picture.error = Stage.FAILED, str(error)

    def tell(self) -> None:
        """Something has changed."""
        for watcher in tuple(self.watchers):
            watcher()


class Jobs:
    """All jobs of a server. Calls may come from any thread.

    Args:
        drawer: draws their pictures, beside what is asked for otherwise.
        folder: where they are.
        most: pictures of all jobs that may be waited for.
    """

    def __init__(self, drawer: Drawer, folder: JobFolder, most: int) -> None:
        self._drawer, self._folder, self._most = drawer, folder, most
        self._lock = threading.RLock()
        self._open: OrderedDict[str, Job] = OrderedDict()
        self._finished: OrderedDict[str, Job] = OrderedDict()
        self._in_drawer, self._ahead = 0, 1
        self._closed = False

    def go_on(self) -> int:
        """Go on with the jobs that an earlier server has left; how many there are.

        Raises:
            OutputError: another server has them.
        """
        if not self._folder.open(make=False):
            return 0
        for record in self._folder.unfinished():
            job = self._job(record)
            job.look()
            self._open[record.id] = job
            self._settle(job)
        self._feed()
        return len(self._open)

    def close(self) -> None:
        """Begin nothing more; what is not drawn is drawn by the next server."""
        with self._lock:
            self._closed = True
        self._folder.close()

    def add(self, requests: Sequence[Request], digest: str, key: str | None = None) -> tuple[Job, bool]:
        """A job, and whether it is new: the same key gives the same job.

        Args:
            requests: one for each picture.
            digest: of what was sent.
            key: the client's name for the call, so that it may send it again.

        Raises:
            Refusal: the key was another job's, or too much waits.
            OutputError: it cannot be stored.
        """
        id = uuid.uuid4().hex if key is None else hashlib.sha256(f"key {key}".encode()).hexdigest()[:32]
        with self._lock:
            if key is not None and (known := self.get(id)) is not None:
                if known.record.digest != digest:
                    message = "this Idempotency-Key was sent with another job; send another key"
                    raise Refusal(422, message, "Idempotency-Key", "key_reused")
                return known, False
            waiting = sum(not each.settled for job in self._open.values() for each in job.pictures)
            if waiting + len(requests) > self._most:
                message = f"jobs wait for {waiting} pictures, and at most {self._most} may"
                raise Refusal(429, message, code="rate_limit_exceeded", retry=self._drawer.wait(waiting))
            if self._closed:
                raise Refusal(503, "the server is stopping; ask again once it is back", retry=RETRY)
            self._folder.open(make=True)
            self._folder.images(id).prepare(len(requests), _BYTES_EACH)
            job = self._job(self._folder.add(id, digest, requests))
            self._open[id] = job
        self._feed()
        return job, True

    def get(self, id: str) -> Job | None:
        """A job; None where there is none of that name."""
        with self._lock:
            job = self._open.get(id) or self._finished.get(id)
            if job is None and (record := self._folder.find(id)) is not None:
                job = self._job(record)
                job.look()
                self._remember(job)
            return job

    def last(self, count: int) -> list[Job]:
        """The jobs that came last, the newest first."""
        names = self._folder.names()[::-1][:count]
        return [job for job in map(self.get, names) if job is not None]

    def ahead(self, job: Job) -> int:
        """How many pictures of jobs that came before are not there yet."""
        total = 0
        for each in tuple(self._open.values()):
            if each is job:
                break
            total += sum(not picture.settled for picture in each.pictures)
        return total

    def cancel(self, job: Job) -> None:
        """Draw nothing more of a job; what is drawn stays."""
        with self._lock:
            if job.finished:
                return
            self._folder.mark(job.record.id, CANCELLED)
            job.cancelled = True
            for picture in job.pictures:
                if picture.drawing is not None and not picture.settled:
                    self._drawer.cancel(picture.drawing)
                elif not picture.settled:
                    picture.stage = Stage.DROPPED
            self._settle(job)
        self._feed()

    def _job(self, record: Record) -> Job:
        job = Job(record, self._folder.images(record.id))
        job.cancelled = self._folder.is_marked(record.id, CANCELLED)
        return job

    def _feed(self) -> None:
        """Hand pictures to the drawer, those of the oldest job first."""
        with self._lock:
            for job in tuple(self._open.values()):
                for place, picture in enumerate(job.pictures):
                    if self._closed or self._in_drawer >= self._ahead:
                        return
                    if picture.stage is Stage.WAITING and picture.drawing is None and not job.cancelled:
                        self._hand(job, place, picture)

    def _hand(self, job: Job, place: int, picture: Picture) -> None:
        listener = functools.partial(self._told, job, place)
        self._in_drawer += 1
        try:
            picture.drawing = self._drawer.submit([job.tasks[place].request], listener, bounded=False)
        except Dropped:  # It has stopped; the next server draws it.
            self._in_drawer -= 1
            self._closed = True

    def _told(self, job: Job, place: int, event: Event) -> None:
        """What the drawer tells; of a picture that is there, in the thread that stores."""
        picture = job.pictures[place]
        if isinstance(event, Stepped):
            picture.stage = Stage.DRAWING
            job.tell()
            return
        if isinstance(event, Drawn):
            self._store(job, place, event)
            # A batch while another is drawn, and one picture more: so it grows to what the engine draws at
            # once, and where that is one, whoever waits for a picture waits for few of jobs.
            batch = event.image.details.get("batch_size") or 1
            self._ahead = min(MOST_AHEAD, 2 * batch + 1)
        elif isinstance(event, Failed) and not isinstance(event.error, Dropped):
            picture.error = refusals.of(event.error).message
            picture.stage = Stage.FAILED
            self._note(job, place, picture.error)
        with self._lock:
            self._in_drawer -= 1
            if not picture.settled:  # Dropped: by whoever cancelled the job, or because the server stops.
                picture.stage = Stage.DROPPED if job.cancelled else Stage.WAITING
            self._settle(job)
        self._feed()

    def _store(self, job: Job, place: int, event: Drawn) -> None:
        picture = job.pictures[place]
        try:
            picture.path = job.images.save_task(job.tasks[place], event.image).path
            picture.stage = Stage.DRAWN
        except SdgenError as error:
            LOG.error("a picture of job %s cannot be stored: %s", job.record.id, error)
            picture.stage, picture.error = Stage.FAILED, "the picture cannot be stored; the log says why"

    def _note(self, job: Job, place: int, error: str) -> None:
        """Remember why there is no picture, so that the next server does not try it again."""
        task = job.tasks[place]
        try:
            job.images.record_failure(task, task.request, ImageError(error))
        except SdgenError as problem:
            LOG.error("a failure of job %s cannot be noted: %s", job.record.id, problem)

    def _settle(self, job: Job) -> None:
        """Tell that something has changed; a job of which nothing more comes is done with."""
        with self._lock:
            if job.finished and job.record.id in self._open:
                del self._open[job.record.id]
                self._remember(job)
                try:
                    self._folder.mark(job.record.id, FINISHED)
                except SdgenError as error:
                    LOG.error("job %s: %s", job.record.id, error)
        job.tell()

    def _remember(self, job: Job) -> None:
        self._finished[job.record.id] = job
        while len(self._finished) > _REMEMBERED:
            self._finished.popitem(last=False)
