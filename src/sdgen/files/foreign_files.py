"""Files that stand where weights belong and are something else: named, so that a user knows what to do."""

from __future__ import annotations

import re
from pathlib import Path

from sdgen.errors import CheckpointError
from sdgen.files.user_files import open_regular

PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
"""Endings of weights that are Python pickles."""

_PICKLE = (
    "is a pickle, which can run code when it is read; take its .safetensors version, or convert it on a "
    "machine you can spare: load it with torch.load(weights_only=True) and store its state_dict with "
    "safetensors.torch.save_file"
)
_POINTER = (
    "is a Git LFS pointer, which stands for the file and is not it; run git lfs pull in its folder, or "
    "download the file itself"
)
_PAGE = (
    "is a web page and not the file: its download failed or asks for a login; open the address in a "
    "browser, and fetch the file again"
)
_GGUF = "is a GGUF file, quantised for other programs; take the model's .safetensors version"

# What a file of each kind starts with; PyTorch puts its pickles into zip archives.
_STARTS = (
    (re.compile(rb"version https://git-lfs\.github\.com/spec/"), _POINTER),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|\?xml)", re.IGNORECASE), _PAGE),
    (re.compile(rb"GGUF"), _GGUF),
    (re.compile(rb"PK\x03\x04.{0,200}data\.pkl|\x80[\x02-\x05]", re.DOTALL), _PICKLE),
)


def refuse_foreign(path: Path) -> None:
    """Nothing, where a file may be weights, a configuration or a vocabulary.

    Raises:
        CheckpointError: it is a Git LFS pointer, a web page, a GGUF file, a pickle, empty, no regular file,
            or cannot be read.
    """
    try:
        with open_regular(path, error=CheckpointError) as file:
            start = file.read(512)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; fetch or copy it again") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    for pattern, kind in _STARTS:
        if pattern.match(start):
            raise CheckpointError(f"{path} {kind}")
    suffix = path.suffix.lower()
    if suffix in PICKLES:
        raise CheckpointError(f"{path} {_PICKLE}")
    if suffix == ".gguf":
        raise CheckpointError(f"{path} {_GGUF}")
    if not start:
        raise CheckpointError(
            f"{path} is truncated or altered: it is empty; delete it, then fetch or copy it again"
        )
