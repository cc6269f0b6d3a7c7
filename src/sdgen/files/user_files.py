"""Opening the files that a user names: regular files alone, at once, with an end."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from sdgen.errors import InputError, SdgenError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: Path, most: int | None = None, error: type[SdgenError] = InputError) -> BinaryIO:
    """A regular file, opened for reading in binary.

    A named pipe, a device or a socket would block, or never end; it is refused without being waited for.

    Args:
        path: links are followed.
        most: bytes that the file may have.
        error: what is raised for a path that is no regular file, or too large a one.

    Raises:
        OSError: there is no such file, or it cannot be read.
        SdgenError: ``error``.
    """
    # Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except OSError:
        require_regular(path, error)  # A socket cannot be opened at all.
        raise
    try:
        _require(path, os.fstat(handle), error, most)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: Path, most: int, error: type[SdgenError] = InputError) -> bytes:
    """The bytes of a regular file; arguments and errors as for ``open_regular``."""
    with open_regular(path, most, error) as file:
        data = file.read(most + 1)
    if len(data) > most:  # It grew, or is one of /proc, whose files say that they have no bytes.
        raise error(f"{path} has more than {most} bytes, the most that is read")
    return data


def require_regular(path: Path, error: type[SdgenError] = InputError) -> None:
    """Raises as ``open_regular`` unless a path is a regular file; for libraries that open it themselves."""
    _require(path, os.stat(path), error, None)


def _require(path: Path, status: os.stat_result, error: type[SdgenError], most: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")
        raise error(f"{path} is {kind}, where a file is needed; name a regular file")
    if most is not None and status.st_size > most:
        raise error(f"{path} has {status.st_size} bytes; the most that is read is {most}")
