"""Compiled programs on disk, shared by every process, and how their folder is kept within bounds.

    <cache>/programs/tensorflow-<key>/   TensorFlow's XLA cache, and the exported programs of ``exported``
    <cache>/programs/jax-<key>/          JAX's compilation cache

The key is of the framework's version, the processor and XLA's flags: a home folder shared by several
machines never serves one the other's machine code.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import time
from importlib import metadata
from pathlib import Path

from sdgen.files import folders

LIMIT = 4 * 10**9
"""Bytes that all programs together may take where nothing else is asked for: a thousand programs of the
bundled model, or about a hundred of Stable Diffusion on a GPU."""

_IN_USE = 600.0
"""Seconds after its last use for which a program is kept whatever the limit: a process may be reading it."""


def folder(framework: str) -> Path:
    """Where the programs of "tensorflow" or "jax" are."""
    parts = (metadata.version(framework), _processor(), os.environ.get("XLA_FLAGS", ""))
    return _root() / f"{framework}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}"


def trim(limit: int = LIMIT) -> int:
    """Removes the least recently used programs until the rest fit; the bytes removed.

    Any number of processes may do so at once. A file's last use is its last change or, where the file
    system keeps it (as Linux does, to the day), its last reading.

    Args:
        limit: bytes.
    """
    files = []
    for path in folders.files(_root()):
        with contextlib.suppress(OSError):
            state = path.stat()
            files.append((max(state.st_mtime, state.st_atime), state.st_size, path))
    total, removed = sum(size for _, size, _ in files), 0
    for used, size, path in sorted(files):
        if total - removed <= limit or time.time() - used < _IN_USE:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            removed += size
    return removed


def size() -> int:
    """Bytes that all programs take."""
    total = 0
    for path in folders.files(_root()):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def _root() -> Path:
    return folders.cache() / "programs"


def _processor() -> str:
    """The processor's features, as text."""
    try:
        with open("/proc/cpuinfo") as file:
            return next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return " ".join(platform.uname())
