"""Tensors by name in what ``torch.save`` has stored."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sdgen.checkpoints.pickles.instructions import MAX_INSTRUCTIONS
from sdgen.checkpoints.pickles.layouts import Unpickled, unpickle
from sdgen.checkpoints.pickles.machine import Opaque
from sdgen.checkpoints.pickles.storages import StoredTensor
from sdgen.checkpoints.tensors import Tensors
from sdgen.errors import CheckpointError
from sdgen.files.foreign_files import PICKLE_START, first_bytes
from sdgen.files.user_files import open_regular

MAX_TENSORS = 50_000
MAX_NAME = 500
"""The most letters in a tensor's name, as in ``safetensors_file``."""

MAX_NESTING = 3
"""Dictionaries in dictionaries whose names are put together."""

MAX_SHARE = 4
"""How many times a file's bytes its tensors may have together, since views may share numbers."""

_SLACK = 1 << 20
"""Bytes that tensors may have beyond that, for small files whose numbers stand for many."""

_TAR = b"ustar"


def is_pickle(path: Path) -> bool:
    """Whether a file is of ``torch.save``, by what it begins with.

    Raises:
        CheckpointError: it cannot be read.
    """
    start = first_bytes(path)
    return bool(PICKLE_START.match(start)) or start[257:262] == _TAR


def read_pickle(path: Path) -> Tensors:
    """The tensors of a file by name, memory-mapped.

    The names are those of the ``state_dict`` in it, where it has one; those of dictionaries in it are put
    together with dots. What has no tensors is left out.

    Raises:
        CheckpointError: it is damaged, asks for what weights do not need, or has no tensors by name.
    """
    unpickled = _unpickle(path)
    content = _state_dict(unpickled.content)
    found: dict[str, StoredTensor] = {}
    for name, tensor in _named(path, content):
        if len(name) > MAX_NAME:
            raise CheckpointError(
                f"{path} has a tensor whose name has {len(name)} characters; fetch it again"
            )
        found[name] = tensor
        if len(found) > MAX_TENSORS:
            raise CheckpointError(f"{path} has more than {MAX_TENSORS} tensors, the most that is read")
    if not found:
        raise CheckpointError(f"{path} holds {_what(content)} and no tensors by name; take another file")
    if sum(tensor.size for tensor in found.values()) > MAX_SHARE * unpickled.size + _SLACK:
        raise CheckpointError(f"{path} is altered: its tensors are larger than it is; fetch it again")
    return Tensors({name: unpickled.lazy(tensor) for name, tensor in found.items()})


def read_pickle_texts(path: Path) -> dict[str, str]:
    """The texts that a file holds beside tensors, by name, such as the ``name`` of a textual inversion.

    Raises:
        CheckpointError: as ``read_pickle`` does.
    """
    content = _unpickle(path).content
    items = content.items() if isinstance(content, dict) else ()
    return {key: value for key, value in items if isinstance(key, str) and isinstance(value, str)}


def _unpickle(path: Path) -> Unpickled:
    with open_regular(path, error=CheckpointError) as file:
        if file.read(262)[257:] == _TAR:
            raise CheckpointError(
                f"{path} is of PyTorch's oldest layout, a tar archive, which is not read; take the model's "
                ".safetensors files"
            )
    return unpickle(path)


def _state_dict(content: Any) -> Any:
    for _ in range(MAX_NESTING):
        if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
            break
        content = content["state_dict"]
    return content


def _named(path: Path, content: Any) -> Iterator[tuple[str, StoredTensor]]:
    """Tensors with their names. One dictionary may be in many places, so what is looked at is counted."""
    looked_at = itertools.count()

    def named(prefix: str, value: Any, depth: int) -> Iterator[tuple[str, StoredTensor]]:
        for name, inner in _members(value).items():
            if next(looked_at) >= MAX_INSTRUCTIONS:
                raise CheckpointError(f"{path} has the same dictionaries in too many places; fetch it again")
            if isinstance(name, str) and isinstance(inner, StoredTensor):
                yield prefix + name, inner
            elif isinstance(name, str) and depth < MAX_NESTING:
                yield from named(f"{prefix}{name[:MAX_NAME]}.", inner, depth + 1)

    return named("", content, 1)


def _members(value: Any) -> Mapping[Any, Any]:
    """What a dictionary holds, or a module whose parameters have names."""
    if isinstance(value, Opaque) and isinstance(value.state, dict):
        value = value.state.get("_parameters")
    return value if isinstance(value, dict) else {}


def _what(content: Any) -> str:
    """What a file holds, for a sentence."""
    if isinstance(content, list):
        return f"a list of {len(content)} things"
    if isinstance(content, Opaque):
        return f"an object of {content.name}"
    if isinstance(content, StoredTensor):
        return "one tensor"
    return "a dictionary" if isinstance(content, dict) else "something else"
