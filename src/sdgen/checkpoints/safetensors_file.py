"""``.safetensors`` files, each tensor mapped when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sdgen.checkpoints.float8 import FLOAT8, rescaled, widened
from sdgen.checkpoints.tensors import MAX_DIMENSIONS, Tensors, mapped
from sdgen.errors import CheckpointError
from sdgen.files.foreign_files import refuse_foreign
from sdgen.files.user_files import open_regular

MAX_HEADER_BYTES = 16 << 20
"""The largest header. A model's has 200 kB; a LoRA's that lists the tags it was trained on, a few MB."""

MAX_TENSORS = 50_000
"""A model of Stable Diffusion has about 1,200."""

MAX_NAME = 500
"""Characters of a tensor's name; the longest of Stable Diffusion's have about 100."""


def read_safetensors(path: Path) -> Tensors:
    """The tensors of a ``.safetensors`` file, memory-mapped.

    The safetensors library checks the header (its JSON, offsets that cover the file without overlap). Each
    tensor is then mapped by itself, read-only and without a copy, so loading needs little memory beyond the
    network's own. Tensors of eight bits with their scales are given as what they stand for (``float8``).

    Raises:
        CheckpointError: the file is missing, a pickle or of another kind, truncated or altered, or holds a
            dtype that NumPy lacks.
    """
    header, data_start = _header(path)
    entries = {}
    for name, info in header.items():
        dtype, shape = _dtype(path, name, info["dtype"]), tuple(info["shape"])
        if len(name) > MAX_NAME:
            raise CheckpointError(
                f"{path} has a tensor whose name has {len(name)} characters; fetch it again"
            )
        if len(shape) > MAX_DIMENSIONS or any(size >= 1 << 40 for size in shape):
            raise CheckpointError(f"{path} has a tensor {name} of no usable shape; fetch it again")
        entry = mapped(path, dtype, shape, data_start + info["data_offsets"][0])
        entries[name] = widened(entry) if info["dtype"] in FLOAT8 else entry
    return rescaled(path, Tensors(entries))


def read_metadata(path: Path) -> dict[str, str]:
    """The free text of a ``.safetensors`` file's header (``__metadata__``).

    Raises:
        CheckpointError: as ``read_safetensors`` does.
    """
    metadata: dict[str, str] = _header(path, "__metadata__")[0]
    return metadata


def _header(path: Path, member: str | None = None) -> tuple[dict[str, Any], int]:
    """Name -> {dtype, shape, data_offsets}, or one member; and where the data starts."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the .safetensors file in it")
    refuse_foreign(path)
    try:
        with open_regular(path, error=CheckpointError) as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if length <= MAX_HEADER_BYTES else b""
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    if path.suffix.lower() == ".safetensors" and length > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path} is truncated or altered (its header would have {length} bytes, and the most that is "
            f"read is {MAX_HEADER_BYTES}); delete it and fetch or copy it again"
        )
    _validate(path)
    header: dict[str, Any] = json.loads(text)
    metadata = header.pop("__metadata__", None) or {}
    if len(header) > MAX_TENSORS:
        raise CheckpointError(f"{path} has {len(header)} tensors, and the most that is read is {MAX_TENSORS}")
    return metadata if member else header, 8 + length


def _validate(path: Path) -> None:
    """Has the library check the whole header; ``_header`` then need not."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        if path.suffix.lower() != ".safetensors":
            raise CheckpointError(f"{path} is neither a .safetensors file nor a pickle of PyTorch") from None
        reason = str(error).removeprefix("Error while deserializing header: ")[:200]
        raise CheckpointError(
            f"{path} is truncated or altered ({reason}); delete it and fetch or copy it again"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None


_DTYPES: Mapping[str, str] = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}

_ML_DTYPES: Mapping[str, str] = {"BF16": "bfloat16", **FLOAT8}


def _dtype(path: Path, name: str, code: str) -> np.dtype[Any]:
    if code in _ML_DTYPES:
        import ml_dtypes

        small: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _ML_DTYPES[code]))
        return small
    if code not in _DTYPES:
        raise CheckpointError(
            f"{path} stores {name} as {code}, which is not supported; take the fp16, bf16 or fp32 file"
        )
    return np.dtype(_DTYPES[code])
