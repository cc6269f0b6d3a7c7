"""Jobs on disk: a folder for each, with what was asked for, the pictures and their sidecars.

``job.json`` is written once, whole, before a job is told to be there. Which pictures are drawn is seen by
their sidecars, as in a batch (``batch.batch_folder``); an empty file ``finished`` or ``cancelled`` says that
there is nothing more to do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

import filelock

from sdgen.batch.batch_folder import BatchFolder
from sdgen.errors import InputError, OutputError
from sdgen.files import json_text, user_files, whole_files
from sdgen.request import Request

RECORD, FINISHED, CANCELLED = "job.json", "finished", "cancelled"
ID = re.compile("[0-9a-f]{32}")

_SCHEMA = "sdgen-job-1"
_LOCK = ".sdgen-serve.lock"
_MOST_BYTES = 256_000_000


@dataclasses.dataclass(frozen=True)
class Record:
    """What was asked for.

    Attributes:
        id: 32 hexadecimal digits.
        created: when, ISO 8601.
        digest: of what was sent.
        requests: one for each picture.
    """

    id: str
    created: str
    digest: str
    requests: tuple[Request, ...]


class JobFolder:
    """The folder of all jobs; made when the first comes.

    Args:
        root: where it is.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = filelock.FileLock(root / _LOCK, timeout=0, thread_local=False)

    def open(self, make: bool) -> bool:
        """Make the jobs this server's; False where there is no folder, and none was to be made.

        Raises:
            OutputError: another server has them, or the folder cannot be made.
        """
        if not self._root.is_dir() and not make:
            return False
        if not self._lock.is_locked:
            with whole_files.explained(self._root, "--jobs"):
                whole_files.make_folder(self._root)
                try:
                    self._lock.acquire()
                except filelock.Timeout:
                    raise OutputError(
                        f"another server draws the jobs of {self._root}; give another folder with --jobs"
                    ) from None
        return True

    def close(self) -> None:
        """Let another server have the jobs."""
        self._lock.release()

    def add(self, id: str, digest: str, requests: Sequence[Request]) -> Record:
        """A new job, on disk when this returns.

        Raises:
            OutputError: it cannot be written.
        """
        created = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        record = Record(id, created, digest, tuple(requests))
        described = {"schema": _SCHEMA, "id": id, "created": created, "digest": digest}
        text = json.dumps({**described, "requests": [request.to_dict() for request in requests]})
        folder = self._root / id
        with whole_files.explained(self._root, "--jobs"):
            whole_files.make_folder(folder)
            whole_files.write(folder / RECORD, text.encode(), replace=True, option="--jobs")
            whole_files.sync_folder(self._root)
        return record

    def find(self, id: str) -> Record | None:
        """A job; None where there is none of that name, or it cannot be read."""
        if not ID.fullmatch(id):
            return None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, InputError):
            read = json_text.parse_object(user_files.read_regular(self._root / id / RECORD, _MOST_BYTES))
            requests = tuple(Request.from_dict(each) for each in read["requests"])
            return Record(id, str(read["created"]), str(read["digest"]), requests)
        return None

    def names(self) -> list[str]:
        """Of all jobs, the first that came first."""
        with contextlib.suppress(OSError), os.scandir(self._root) as entries:
            found = [entry.name for entry in entries if ID.fullmatch(entry.name)]
            return sorted(found, key=self._came)
        return []

    def unfinished(self) -> Iterator[Record]:
        """Jobs that are neither finished nor cancelled, the first that came first."""
        for id in self.names():
            if not (self.is_marked(id, FINISHED) or self.is_marked(id, CANCELLED)):
                record = self.find(id)
                if record is not None:
                    yield record

    def mark(self, id: str, mark: str) -> None:
        """Remember that a job is ``FINISHED`` or ``CANCELLED``. OutputError where that cannot be written."""
        with whole_files.explained(self._root, "--jobs"):
            (self._root / id / mark).touch()
            whole_files.sync_folder(self._root / id)

    def is_marked(self, id: str, mark: str) -> bool:
        """Whether it is remembered."""
        return (self._root / id / mark).exists()

    def images(self, id: str) -> BatchFolder:
        """Where the pictures of a job go."""
        return BatchFolder(self._root / id)

    def _came(self, id: str) -> tuple[float, str]:
        with contextlib.suppress(OSError):
            return (self._root / id / RECORD).stat().st_mtime, id
        return 0.0, id
