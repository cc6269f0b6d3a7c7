"""Files as ``torch.save`` writes them, made without PyTorch: an assembler for pickles, and both layouts."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "bool": "BoolStorage",
}


class Name:
    """A name of a module, as GLOBAL asks for it; with ``arguments`` it is called with them."""

    def __init__(self, module: str, name: str, *arguments: Any, called: bool = False) -> None:
        self.module, self.name, self.arguments = module, name, arguments
        self.called = called or bool(arguments)


class Persistent:
    """What a persistent id stands for."""

    def __init__(self, identity: Any) -> None:
        self.identity = identity


class Program:
    """A pickle of protocol 2 with the storages that it names by their keys."""

    def __init__(self) -> None:
        self.storages: dict[str, np.ndarray[Any, Any]] = {}

    def dump(self, value: Any) -> bytes:
        """A whole pickle of a value."""
        return b"\x80\x02" + self.code(value) + b"."

    def code(self, value: Any) -> bytes:
        """The instructions that put a value on the stack."""
        if isinstance(value, np.ndarray):
            return self._tensor(value)
        if isinstance(value, Persistent):
            return self.code(value.identity) + b"Q"
        if isinstance(value, Name):
            name = f"c{value.module}\n{value.name}\n".encode()
            return name + (self.code(value.arguments) + b"R" if value.called else b"")
        if isinstance(value, Mapping):
            items = b"".join(self.code(key) + self.code(item) for key, item in value.items())
            return b"}(" + items + b"u"
        if isinstance(value, list):
            return b"](" + b"".join(map(self.code, value)) + b"e"
        if isinstance(value, tuple):
            return b"(" + b"".join(map(self.code, value)) + b"t"
        if isinstance(value, str):
            data = value.encode()
            return b"X" + struct.pack("<I", len(data)) + data
        return pickle.dumps(value, 2)[2:-1]

    def _tensor(self, array: np.ndarray[Any, Any]) -> bytes:
        key = str(len(self.storages))
        self.storages[key] = array
        strides = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
        kind = Name("torch", STORAGES[array.dtype.name])
        storage = Persistent(("storage", kind, key, "cpu", array.size))
        rest = (
            storage,
            0,
            array.shape,
            tuple(strides),
            False,
            Name("collections", "OrderedDict", called=True),
        )
        inner = b"".join(map(self.code, rest))
        return self.code(Name("torch._utils", "_rebuild_tensor_v2")) + b"(" + inner + b"tR"


def write_zip(path: Path, value: Any, pickled: bytes | None = None) -> None:
    """The layout of PyTorch 1.6 and later; ``pickled`` takes the place of the value's own pickle."""
    program = Program()
    data = program.dump(value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data if pickled is None else pickled)
        archive.writestr("archive/byteorder", "little")
        for key, array in program.storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", "3\n")


def write_older(path: Path, value: Any, pickled: bytes | None = None) -> None:
    """The layout before that."""
    program = Program()
    data = program.dump(value)
    file = io.BytesIO()
    file.write(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))
    file.write(pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, 2))
    file.write(data if pickled is None else pickled)
    file.write(pickle.dumps(list(program.storages), 2))
    for array in program.storages.values():
        file.write(struct.pack("<q", array.size) + array.tobytes())
    path.write_bytes(file.getvalue())


WRITERS = {"zip": write_zip, "older": write_older}
