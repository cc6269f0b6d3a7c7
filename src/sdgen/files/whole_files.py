"""Files that are whole under their names: written as temporary files, synced, then named in one step."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sdgen.errors import OutputError

PREFIX, SUFFIX = ".sdgen-", ".tmp"
"""How the names of temporary files begin and end."""

_STALE = 3600.0
"""Seconds after which a temporary file is taken for one that a killed process left."""

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_NO_SUCH_RENAME = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

_AT_FDCWD, _RENAME_NOREPLACE = -100, 1
"""Linux' constants for ``renameat2``, from fcntl.h and linux/fs.h."""


def temporary(folder: Path) -> Path:
    """A name for a temporary file that no other process picks."""
    return folder / f"{PREFIX}{secrets.token_hex(6)}{SUFFIX}"


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def place(temporary: Path, path: Path) -> None:
    """Give a finished file its name in one step; FileExistsError where the name is taken.

    The name has the whole file or none at any moment. Where neither links nor ``_rename_to_new`` can be had,
    a file that comes under that name in the same moment, from a program that knows nothing of sdgen, is
    replaced.
    """
    if os.name == "nt":
        os.rename(temporary, path)
        return
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_to_new(temporary, path)


def _rename_to_new(temporary: Path, path: Path) -> None:
    """``place`` on a file system without hard links."""
    rename = _renameat2()
    if rename is not None:
        names = (_AT_FDCWD, os.fsencode(temporary), _AT_FDCWD, os.fsencode(path))
        if rename(*names, _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _NO_SUCH_RENAME:
            raise OSError(number, os.strerror(number), os.fspath(temporary), None, os.fspath(path))
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path))
    os.replace(temporary, path)


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    """Linux's rename that replaces nothing, which Python does not offer; None where there is none."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return None
    rename.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    rename.restype = ctypes.c_int
    return rename  # type: ignore[no-any-return,unused-ignore]


def sync_folder(folder: Path) -> None:
    """Make the new names outlast a power cut, where the file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_stale(folder: Path) -> None:
    """Remove temporary files that killed processes left."""
    oldest = time.time() - _STALE
    for file in folder.glob(f"{PREFIX}*{SUFFIX}"):
        with contextlib.suppress(OSError):
            if file.stat().st_mtime < oldest:
                file.unlink()


def make_folder(folder: Path) -> None:
    """Make a folder, and see that files can be made in it; OSError where they cannot."""
    folder.mkdir(parents=True, exist_ok=True)
    trial = temporary(folder)
    trial.touch(exist_ok=False)
    trial.unlink()


@contextlib.contextmanager
def explained(folder: Path, option: str = "-o") -> Iterator[None]:
    """Turn what the operating system says into an OutputError that tells what to do.

    ``option`` is the one by which the user chose the folder.
    """
    try:
        yield
    except OSError as error:
        where = error.filename2 or error.filename or folder
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            sentence = f"no space is left in {folder}; free some, or choose another folder with {option}"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            sentence = f"{folder} cannot be written; choose another folder with {option}"
        elif error.errno in (errno.EEXIST, errno.ENOTDIR):
            sentence = f"{where} is in the way; choose another name with {option}"
        elif error.errno == errno.ENOENT and not os.path.isdir(folder):
            sentence = f"the folder {folder} is not there; make it, or choose another with {option}"
        elif error.errno == errno.ENAMETOOLONG:
            sentence = f"the name of {str(where)[:80]}... is too long for its file system; give a shorter one"
        else:
            sentence = f"{where}: {error.strerror}; choose another folder with {option}"
        raise OutputError(sentence) from error


def write(path: Path, data: bytes, replace: bool = False, option: str = "-o") -> None:
    """Write a whole file in one step.

    Args:
        path: its name.
        data: its bytes.
        replace: whether a file of that name gives way; otherwise it is an error.
        option: ``explained``'s.

    Raises:
        OutputError: it cannot be written, or is there already.
    """
    waiting = temporary(path.parent)
    with explained(path.parent, option):
        try:
            write_synced(waiting, data)
            if replace:
                os.replace(waiting, path)
            else:
                place(waiting, path)
            sync_folder(path.parent)
        finally:
            waiting.unlink(missing_ok=True)
