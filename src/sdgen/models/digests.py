"""sha256 of files, computed once and remembered by (path, size, modification time)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path

from sdgen.errors import CheckpointError
from sdgen.files import folders, small_json
from sdgen.files.foreign_files import PICKLES

WEIGHTS = (".safetensors", ".h5")
"""Endings of the files that hold weights, but for pickles, which count where a folder has none of these."""

_BLOCK = 2**20


def file_sha256(path: Path, *, again: bool = False) -> str:
    """sha256 of a file, 64 hexadecimal digits.

    A file whose size and modification time are as they were is not read again, unless ``again``.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        real = Path(os.path.realpath(path, strict=True))
        before = real.stat()
        known = None if again else recall(real)
        if known is not None:
            return known
        # Here, for its package imports NumPy, which naming a model has no use for.
        from sdgen.checkpoints.checkpoint import file_sha256 as read_sha256

        digest = read_sha256(real)
        after = real.stat()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
        remember(real, digest)
    return digest


def weights_sha256(path: str | os.PathLike[str]) -> str:
    """The identity of a model's weights: a sha256, 64 hexadecimal digits.

    Of a file, its own digest. Of a folder, the digest of what ``sha256sum`` prints (digest, two spaces,
    name, newline) for the weight files in it: names relative to the folder, with '/', in name order.

    Raises:
        CheckpointError: a file cannot be read, or the folder holds no weights.
    """
    path = Path(path)
    if not path.is_dir():
        return file_sha256(path)
    there = [file for file in folders.files(path) if os.path.isfile(file)]
    whole = {file.parent for file in there if file.suffix in WEIGHTS}
    weights = [
        file
        for file in there
        if file.suffix in WEIGHTS or (file.suffix in PICKLES and file.parent not in whole)
    ]
    names = sorted(file.relative_to(path).as_posix() for file in weights)
    if not names:
        raise CheckpointError(f"{path} holds no weights: there is no {' or '.join(WEIGHTS)} file in it")
    lines = "".join(f"{file_sha256(path / name)}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


def git_blob(path: Path) -> str:
    """The git object id of a file: the sha1 of its bytes after a header, 40 hexadecimal digits."""
    with path.open("rb") as file:
        digest = hashlib.sha1(b"blob %d\0" % os.fstat(file.fileno()).st_size, usedforsecurity=False)
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def recall(path: Path) -> str | None:
    """The remembered digest of a file that has not changed since, or None."""
    real = Path(os.path.realpath(path))
    note = small_json.read(_note(real))
    sha256 = note.pop("sha256", None)
    with contextlib.suppress(OSError):
        if note == _state(real) and isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256):
            return sha256
    return None


def remember(path: Path, sha256: str) -> None:
    """Note the digest of a file as it is now. A cache folder that cannot be written is no error."""
    real = Path(os.path.realpath(path))
    with contextlib.suppress(OSError):
        small_json.write(_note(real), {**_state(real), "sha256": sha256})


def _state(real: Path) -> dict[str, str | int]:
    """What tells that a file has changed."""
    status = real.stat()
    return {"path": str(real), "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _note(real: Path) -> Path:
    key = hashlib.sha256(str(real).encode("utf-8", "surrogateescape")).hexdigest()
    return folders.cache() / "digests" / f"{key[:32]}.json"
