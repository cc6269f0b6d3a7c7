"""The two layouts of ``torch.save``: a zip archive (1.6 and later), and pickles with numbers behind them.

Zip: ``NAME/data.pkl``, ``NAME/data/KEY`` for each storage, uncompressed, and ``NAME/byteorder``. Older: five
pickles (a mark, the protocol, what machine wrote it, the object, the storages' keys), then for each key the
number of its numbers in eight bytes, and they. Source: torch/serialization.py.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sdgen.checkpoints.pickles.instructions import run
from sdgen.checkpoints.pickles.machine import Machine
from sdgen.checkpoints.pickles.names import Kind, look_up
from sdgen.checkpoints.pickles.storages import MAX_NUMBERS, Storage, StoredTensor
from sdgen.checkpoints.tensors import LazyTensor
from sdgen.errors import CheckpointError
from sdgen.files.user_files import open_regular

MAX_PICKLE_BYTES = 16 << 20
"""The largest pickle that is read. That of Stable Diffusion with its training state has about 1 MB."""

MAX_DIRECTORY_BYTES = 8 << 20
"""The largest directory of a zip archive; with 50,000 storages it has about 4 MB."""

_MARK = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_LOCAL_HEADER = 30
"""Bytes before the name in a zip archive."""


@dataclass(frozen=True)
class Unpickled:
    """What a file holds.

    Attributes:
        content: dictionaries, lists and tuples, numbers and text, ``StoredTensor`` and ``Opaque``.
        path: the file.
        big_endian: the order of its numbers' bytes.
        size: bytes of the file.
    """

    content: Any
    path: Path
    big_endian: bool
    size: int

    def lazy(self, tensor: StoredTensor) -> LazyTensor:
        """One of its tensors."""
        return tensor.lazy(self.path, self.big_endian)


def unpickle(path: Path) -> Unpickled:
    """What a file of ``torch.save`` holds; nothing is run and no tensor is read.

    Raises:
        CheckpointError: it is damaged, of another layout, or asks for what weights do not need.
    """
    try:
        with open_regular(path, error=CheckpointError) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            read = _read_zip if file.read(4) == b"PK\x03\x04" else _read_older
            return read(path, file, size)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path} is truncated or altered ({why}); delete it and fetch or copy it again")


def _machine(path: Path, data: bytes, find: Callable[[str, Storage], None]) -> Machine:
    """A machine that knows PyTorch's names; ``find`` is told of each new storage with its key."""
    storages: dict[str, Storage] = {}

    def lookup(name: str) -> Any:
        found = look_up(name)
        if found is None:
            raise machine.refused(name)
        return found

    def resolve(identity: Any) -> Any:
        if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module":
            return identity[1]  # A class with its source, which is of no interest.
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
            raise ValueError
        _, kind, key, _, numbers, *views = identity
        known = isinstance(kind, Kind) and isinstance(key, str) and type(numbers) is int
        if not known or not 0 <= numbers < MAX_NUMBERS:
            raise ValueError
        if key not in storages:
            storages[key] = Storage(kind.dtype, numbers)
            find(key, storages[key])
        storage = storages[key]
        if (storage.dtype, storage.numbers) != (kind.dtype, numbers):
            raise ValueError
        return _part(storage, views[0]) if views and views[0] is not None else storage

    machine = Machine(path, data, lookup, resolve)
    return machine


def _part(storage: Storage, view: Any) -> Storage:
    """A storage that is a part of another, as PyTorch had them before 0.4."""
    _, offset, numbers = view
    if type(offset) is not int or type(numbers) is not int or min(offset, numbers) < 0:
        raise ValueError
    part = Storage(storage.dtype, numbers)
    if storage.numbers < offset + numbers:
        raise ValueError
    part.whole = (storage, offset * part.size // numbers if numbers else 0)
    return part


class _Bounded(io.RawIOBase):
    """A file that refuses to read more at once than an archive's directory may have."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1, /) -> bytes:
        if size > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its directory would have {size} bytes")
        return self._file.read(MAX_DIRECTORY_BYTES if size < 0 else size)


class _Archive:
    """The members of an archive, and where they lie."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self._path, self._file, self._size = path, file, size
        try:
            with zipfile.ZipFile(_Bounded(file)) as archive:
                self._members = {info.filename: info for info in archive.infolist()}
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, IndexError) as error:
            raise _damaged(path, str(error)[:200]) from None
        pickles = [name for name in self._members if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise CheckpointError(
                f"{path} is a zip archive that torch.save did not write: {len(pickles)} of its members are "
                "a data.pkl; take the model's .safetensors files"
            )
        self._folder = pickles[0].removesuffix("data.pkl")

    def __contains__(self, name: str) -> bool:
        return self._folder + name in self._members

    def place(self, name: str) -> tuple[int, int]:
        """The first byte of a member, and how many it has."""
        info = self._members.get(self._folder + name)
        if info is None:
            raise _damaged(self._path, f"it has no {name[:80]}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise CheckpointError(
                f"{self._path} is compressed or encrypted, which torch.save does not do; pack it without"
            )
        self._file.seek(info.header_offset)
        header = self._file.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
            raise _damaged(self._path, f"{name[:80]} is not where its directory says")
        start = (
            info.header_offset
            + _LOCAL_HEADER
            + sum(int.from_bytes(header[place : place + 2], "little") for place in (26, 28))
        )
        if info.file_size != info.compress_size or start + info.file_size > self._size:
            raise _damaged(self._path, f"{name[:80]} is not whole")
        return start, info.file_size

    def read(self, name: str, most: int) -> bytes:
        """The bytes of a member."""
        start, size = self.place(name)
        if size > most:
            raise CheckpointError(
                f"{self._path} has a {name} of {size} bytes; the most that is read is {most}"
            )
        self._file.seek(start)
        return self._file.read(size)


def _read_zip(path: Path, file: BinaryIO, size: int) -> Unpickled:
    archive = _Archive(path, file, size)
    if "constants.pkl" in archive:
        raise CheckpointError(f"{path} is a program (TorchScript) and not weights; take the model's weights")

    def find(key: str, storage: Storage) -> None:
        start, there = archive.place(f"data/{key}")
        if storage.size > there:
            raise _damaged(path, f"data/{key[:80]} has {there} bytes instead of {storage.size}")
        storage.start = start

    order = archive.read("byteorder", 16) if "byteorder" in archive else b"little"
    if order not in (b"little", b"big"):
        raise _damaged(path, "its byteorder is neither little nor big")
    content = run(_machine(path, archive.read("data.pkl", MAX_PICKLE_BYTES), find))
    return Unpickled(content, path, order == b"big", size)


def _read_older(path: Path, file: BinaryIO, size: int) -> Unpickled:
    storages: dict[str, Storage] = {}
    file.seek(0)
    machine = _machine(path, file.read(MAX_PICKLE_BYTES), storages.__setitem__)
    if run(machine) != _MARK:
        raise CheckpointError(
            f"{path} is a pickle that torch.save did not write; take the model's .safetensors files"
        )
    protocol, system, content, keys = (run(machine) for _ in range(4))
    if protocol != _PROTOCOL or not isinstance(system, dict) or not isinstance(keys, list):
        raise _damaged(path, "it does not begin as torch.save begins a file")
    big_endian = system.get("little_endian") is False
    found = [storages.pop(key, None) if isinstance(key, str) else None for key in keys]
    _place(path, file, machine.position, size, found, big_endian)
    return Unpickled(content, path, big_endian, size)


def _place(
    path: Path, file: BinaryIO, start: int, size: int, storages: list[Storage | None], big_endian: bool
) -> None:
    """Notes where each storage lies in a file that has one behind the other."""
    for storage in storages:
        file.seek(start)
        numbers = int.from_bytes(file.read(8), "big" if big_endian else "little")
        if storage is None or numbers != storage.numbers or start + 8 + storage.size > size:
            raise _damaged(path, "its numbers are not those that its pickle describes")
        storage.start = start + 8
        start += 8 + storage.size
