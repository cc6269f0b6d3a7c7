"""One file from the first of its addresses that gives the right bytes: resumed, checked, renamed.

The bytes go to ``NAME.part`` beside the target and are hashed as they come; ``NAME.part.json`` notes
where they come from. Only a file of the right size and digest gets its final name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
from pathlib import Path
from typing import Any, NoReturn

from sdgen.errors import ModelUnavailable
from sdgen.models import connection
from sdgen.models.catalogue import RemoteFile
from sdgen.models.digests import git_blob, remember
from sdgen.models.part import Part
from sdgen.models.patience import NextMirror, Patience, Policy, TryAgain
from sdgen.models.progress import Progress, size_text

_CHECK_EVERY = 2**24
"""Bytes of a file of unknown size after which the free space is looked at again."""

_SPARE = 10**9
"""Bytes that such a file leaves free on its disk."""


class NotFetched(ModelUnavailable):
    """No address gave the file. ``lasting`` tells whether another try is useless."""

    def __init__(self, message: str, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


def fetch_file(file: RemoteFile, target: Path, progress: Progress, policy: Policy) -> RemoteFile:
    """Fetch one file to ``target`` and return it with its sha256 and size filled in.

    A part that an earlier call left is continued, if the server allows it and its bytes can be checked.

    Raises:
        NotFetched: no address gives the right bytes; the message says why for each.
        ModelUnavailable: the disk is full or not writable.
    """
    part = Part(target)
    faults: dict[str, NextMirror] = {}
    with connection.session() as opened:
        for url in file.urls:
            try:
                return _Download(file, part, url, opened, progress, policy).run()
            except NextMirror as fault:
                faults[connection.label(url)] = fault
                if url != file.urls[-1]:
                    progress.note(f"{connection.label(url)} {fault}; trying the next mirror")
    reasons = "; ".join(f"{name} {fault}" for name, fault in faults.items())
    lasting = all(fault.lasting for fault in faults.values())
    kept = f"; {size_text(part.size)} are kept and the same command goes on from there" if part.size else ""
    raise NotFetched(f"{file.name} could not be fetched: {reasons}{kept}", lasting)


class _Download:
    """The attempts to get one file from one address."""

    def __init__(
        self, file: RemoteFile, part: Part, url: str, opened: Any, progress: Progress, policy: Policy
    ) -> None:
        self.file = file
        self.part = part
        self.url = url
        self.opened = opened
        self.progress = progress
        self.policy = policy

    def run(self) -> RemoteFile:
        """Attempt until the file is whole, or raise ``NextMirror``."""
        patience = Patience(self.policy, connection.label(self.url), self.progress)
        most = self.part.size
        while True:
            try:
                return self._attempt()
            except TryAgain as fault:
                self.progress.end()
                here = self.part.size
                patience.wait(fault, advanced=here > most)
                most = max(most, here)
            except OSError as error:
                self._disk_fault(error)
            finally:
                self.progress.end()

    def _attempt(self) -> RemoteFile:
        address, headers = connection.address(self.url)
        offset, tag = self._resumable()
        if offset and offset == self.file.size:
            return self._accept(self.file.sha256, resumed=True)
        if offset:
            headers["Range"] = f"bytes={offset}-"
        if offset and tag:
            headers["If-Range"] = tag
        answer = connection.get(self.opened, address, headers, self.policy.timeout)
        with contextlib.closing(answer):
            if answer.status_code == 416:  # the part is the whole file, or not of this file
                return self._accept(self.file.sha256 or "nothing", resumed=True)
            expected = self.file.sha256 or connection.linked_sha256(self.url, answer)
            resumed = answer.status_code == 206
            start = offset if resumed else 0
            total = connection.total_size(answer, start)
            self._check_answer(answer, total, expected)
            self._check_space(total, start)
            self._receive(answer, start, total)
        return self._accept(expected, resumed)

    def _resumable(self) -> tuple[int, str | None]:
        """How many bytes of the part can be built on, and the ETag that the rest must have.

        With a known digest any mirror may go on where another stopped. Without one, only the same
        address under the same ETag may.
        """
        here = self.part.size
        if self.file.size is not None and here > self.file.size:
            self.part.discard()
            return 0, None
        if self.file.sha256 or self.file.git_blob:
            return here, None
        tag = self.part.tag(self.url)
        return (here, tag) if tag else (0, None)

    def _check_answer(self, answer: Any, total: int | None, expected: str | None) -> None:
        if None not in (total, self.file.size) and total != self.file.size:
            raise NextMirror(f"has a file of {total} bytes instead of {self.file.size}")
        if expected is not None or self.file.git_blob is not None:
            return
        if "text/html" in answer.headers.get("Content-Type", ""):
            raise NextMirror("sent a web page instead of the file")
        chunked = "chunked" in answer.headers.get("Transfer-Encoding", "")
        if total is None and self.file.size is None and not chunked:
            raise NextMirror("does not say how long the file is, and the catalogue has no size or sha256")

    def _check_space(self, total: int | None, start: int) -> None:
        need = (total or self.file.size or 0) - start
        free = self.part.free_space()
        if need > free:
            raise ModelUnavailable(
                f"{self.file.name} needs {size_text(need)} in {self.part.path.parent}, where "
                f"{size_text(free)} are free; make room, or set SDGEN_MODELS_DIR to a folder on another disk"
            )

    def _receive(self, answer: Any, start: int, total: int | None) -> None:
        limit = self.file.size or total
        self.progress.begin(self.file.name, limit, start)
        here = checked = start
        for here in self.part.write(
            connection.body(answer, self.policy.timeout), start, self.url, connection.strong_tag(answer)
        ):
            if limit is not None and here > limit:
                break
            if limit is None and here >= checked + _CHECK_EVERY:
                checked = here
                self._leave_space()
            self.progress.move(here)
        if limit is not None and here > limit:
            self.part.discard()
            raise NextMirror(f"sent more than the {limit} bytes of the file")
        if limit is not None and here < limit:
            raise TryAgain(f"dropped the connection at {size_text(here)} of {size_text(limit)}")

    def _leave_space(self) -> None:
        """Raises if a file of unknown size, which may have no end, has left too little free space."""
        if self.part.free_space() < _SPARE:
            raise ModelUnavailable(
                f"{self.file.name}, whose size is not known, has come to {size_text(self.part.size)} and "
                f"leaves less than {size_text(_SPARE)} free in {self.part.path.parent}; make room, or delete "
                f"{self.part.path} if it should not be as large"
            )

    def _accept(self, expected: str | None, resumed: bool) -> RemoteFile:
        """Give the part its final name if its digest is right; otherwise delete it."""
        found = self.part.sha256()
        if expected is not None and found != expected:
            fault = f"sent other bytes than expected (sha256 {found} instead of {expected})"
        elif self.file.git_blob is not None and git_blob(self.part.path) != self.file.git_blob:
            fault = f"sent other bytes than expected (their git id is not {self.file.git_blob})"
        else:
            size = self.part.size
            self.part.finish()
            remember(self.part.target, found)
            return dataclasses.replace(self.file, sha256=found, size=size)
        self.part.discard()
        # A part from another run or mirror may be what was wrong: begin anew before giving up.
        raise TryAgain(fault, after=0) if resumed else NextMirror(fault)

    def _disk_fault(self, error: OSError) -> NoReturn:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelUnavailable(
                f"the disk is full: {self.part.path} cannot grow beyond {size_text(self.part.size)}; make "
                "room and run the same command, which goes on from there"
            ) from None
        raise ModelUnavailable(f"{self.part.path} cannot be written: {error.strerror or error}") from None
