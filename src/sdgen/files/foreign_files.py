"""Files that stand where weights belong and are something else: named, so that a user knows what to do."""

from __future__ import annotations

import re
from pathlib import Path

from sdgen.errors import CheckpointError
from sdgen.files.user_files import open_regular

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
"""Endings of weights that PyTorch has pickled."""

PICKLE_START = re.compile(rb"PK\x03\x04|\x80[\x02-\x05](?!.{6}\{)", re.DOTALL)
"""A zip archive, in which PyTorch has its pickles, or a pickle: the length with which a ``.safetensors`` file
begins may look so, but a brace follows it."""

_PICKLE = "is a pickle or a zip archive, and another kind of file belongs here; put that in its place"
_POINTER = (
    "is a Git LFS pointer, which stands for the file and is not it; run git lfs pull in its folder, or "
    "download the file itself"
)
_PAGE = (
    "is a web page and not the file: its download failed or asks for a login; open the address in a "
    "browser, and fetch the file again"
)
_GGUF = "is a GGUF file, quantised for other programs; take the model's .safetensors version"

# What a file of each kind starts with.
_STARTS = (
    (re.compile(rb"version https://git-lfs\.github\.com/spec/"), _POINTER),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|\?xml)", re.IGNORECASE), _PAGE),
    (re.compile(rb"GGUF"), _GGUF),
    (PICKLE_START, _PICKLE),
)


def first_bytes(path: Path) -> bytes:
    """What a file of weights begins with: up to 512 bytes.

    Raises:
        CheckpointError: it is missing, no regular file, or cannot be read.
    """
    try:
        with open_regular(path, error=CheckpointError) as file:
            return file.read(512)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; fetch or copy it again") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None


def refuse_foreign(path: Path) -> None:
    """Raises unless a file may be weights, a configuration or a vocabulary.

    Raises:
        CheckpointError: it is a Git LFS pointer, a web page, a GGUF file, a pickle, empty, no regular file,
            or cannot be read.
    """
    start = first_bytes(path)
    for pattern, kind in _STARTS:
        if pattern.match(start):
            raise CheckpointError(f"{path} {kind}")
    suffix = path.suffix.lower()
    if suffix == ".gguf":
        raise CheckpointError(f"{path} {_GGUF}")
    if not start:
        raise CheckpointError(
            f"{path} is truncated or altered: it is empty; delete it, then fetch or copy it again"
        )
