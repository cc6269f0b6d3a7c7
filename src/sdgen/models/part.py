"""The unfinished file of a download: its bytes, where they come from, and their running sha256."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from sdgen.files import small_json

_BLOCK = 4 * 2**20


class Part:
    """``NAME.part`` beside a download's target, with ``NAME.part.json`` telling its origin.

    Args:
        target: the path that the finished file will have.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self._origin = target.with_name(target.name + ".part.json")
        self._hash = hashlib.sha256()
        self._hashed = 0

    @property
    def size(self) -> int:
        """Bytes that are on the disk."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def tag(self, url: str) -> str | None:
        """The ETag under which the bytes came, if they came from this address."""
        origin = small_json.read(self._origin)
        tag = origin.get("etag")
        return tag if origin.get("url") == url and isinstance(tag, str) and tag else None

    def write(self, pieces: Iterable[bytes], start: int, url: str, tag: str | None) -> Iterable[int]:
        """Write pieces after the first ``start`` bytes, yielding the size after each.

        Raises:
            OSError: the disk is full or not writable.
        """
        small_json.write(self._origin, {"url": url, "etag": tag})
        self._hash_up_to(start)
        with self.path.open("r+b" if start else "wb") as file:
            if start:
                file.truncate(start)
                file.seek(start)
            for piece in pieces:
                file.write(piece)
                self._hash.update(piece)
                self._hashed += len(piece)
                yield self._hashed
            file.flush()
            os.fsync(file.fileno())

    def sha256(self) -> str:
        """sha256 of what is on the disk; read again only if it was not written by this object."""
        self._hash_up_to(self.size)
        return self._hash.hexdigest()

    def discard(self) -> None:
        """Delete it."""
        self.path.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)
        self._hash = hashlib.sha256()
        self._hashed = 0

    def finish(self) -> None:
        """Give it its final name."""
        os.replace(self.path, self.target)
        self._origin.unlink(missing_ok=True)

    def free_space(self) -> int:
        """Bytes free on the disk that the part is written to."""
        return shutil.disk_usage(self.path.parent).free

    def _hash_up_to(self, size: int) -> None:
        if self._hashed == size:
            return
        self._hash = hashlib.sha256()
        self._hashed = 0
        if not size:
            return
        with self.path.open("rb", buffering=0) as file:
            while self._hashed < size and (block := file.read(min(_BLOCK, size - self._hashed))):
                self._hash.update(block)
                self._hashed += len(block)
