"""Tensors by name that are read when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sdgen.errors import CheckpointError

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int, ...]

MAX_DIMENSIONS = 8
"""The most dimensions of a tensor; those of Stable Diffusion have up to four."""

LEAST_MAPPED = 1 << 16
"""Bytes of the smallest tensor that is mapped. More than half of Stable Diffusion's are smaller."""


@dataclass(frozen=True)
class LazyTensor:
    """One tensor whose shape and dtype are known and whose values are read on demand.

    Attributes:
        shape: its shape.
        dtype: its NumPy dtype (bfloat16 is ``ml_dtypes.bfloat16``).
        read: reads the values; every call reads anew.
    """

    shape: Shape
    dtype: np.dtype[Any]
    read: Callable[[], Array]

    def transpose(self, *axes: int) -> LazyTensor:
        """The tensor with its axes permuted, as a view of what was read."""
        shape = tuple(self.shape[axis] for axis in axes)
        return LazyTensor(shape, self.dtype, lambda: self.read().transpose(axes))

    def reshape(self, shape: Shape) -> LazyTensor:
        """The tensor in another shape of the same size."""
        return LazyTensor(shape, self.dtype, lambda: self.read().reshape(shape))

    def rows(self, start: int, stop: int) -> LazyTensor:
        """Rows ``start`` to ``stop`` of the first axis, as a view of what was read."""
        return LazyTensor((stop - start, *self.shape[1:]), self.dtype, lambda: self.read()[start:stop])


class Tensors(Mapping[str, Array]):
    """Tensors by name. ``tensors[name]`` reads one; ``lazy(name)`` and ``shapes()`` read nothing."""

    def __init__(self, entries: Mapping[str, LazyTensor]) -> None:
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Array:
        return self._entries[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def lazy(self, name: str) -> LazyTensor:
        """The entry of a name, unread."""
        return self._entries[name]

    def items_lazy(self) -> Iterable[tuple[str, LazyTensor]]:
        """Every name with its entry, unread."""
        return self._entries.items()

    def shapes(self) -> dict[str, Shape]:
        """The shape of every tensor by name."""
        return {name: entry.shape for name, entry in self._entries.items()}

    def renamed(self, rename: Callable[[str], str | None]) -> Tensors:
        """The same tensors under other names; those for which ``rename`` gives None are left out."""
        pairs = ((rename(name), entry) for name, entry in self._entries.items())
        return Tensors({name: entry for name, entry in pairs if name is not None})

    def replaced(self, entries: Mapping[str, LazyTensor]) -> Tensors:
        """The same tensors with ``entries`` added or put in place of those of the same name."""
        return Tensors({**self._entries, **entries})

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Tensors:
        """Tensors that are in memory already."""
        return cls({name: from_array(array) for name, array in arrays.items()})


def from_array(array: Array) -> LazyTensor:
    """A tensor that is in memory already."""
    return LazyTensor(tuple(array.shape), array.dtype, lambda: array)


def concatenate(parts: Sequence[LazyTensor]) -> LazyTensor:
    """Tensors of one width and dtype below each other, as one."""
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    return LazyTensor(shape, parts[0].dtype, lambda: np.concatenate([part.read() for part in parts]))


def merge(parts: Iterable[Tensors]) -> Tensors:
    """One mapping of several; a name that occurs twice is taken from the last."""
    entries: dict[str, LazyTensor] = {}
    for part in parts:
        entries.update((name, part.lazy(name)) for name in part)
    return Tensors(entries)


def mapped(path: Path, dtype: np.dtype[Any], shape: Shape, offset: int) -> LazyTensor:
    """A tensor that lies row-major in a file, from byte ``offset`` on, and is mapped when it is read.

    A mapping of its own for every tensor: its pages leave the process together with the array. Small ones are
    copied, since a mapping takes a file handle, of which a process has some 1,000.
    """
    return LazyTensor(shape, dtype, partial(_map, path, dtype, shape, offset))


def _map(path: Path, dtype: np.dtype[Any], shape: Shape, offset: int) -> Array:
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    try:
        if math.prod(shape) * dtype.itemsize < LEAST_MAPPED:
            return _copied(path, dtype, shape, offset)
        return np.asarray(np.memmap(path, dtype, "r", offset, shape))
    except (OSError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{path} does not hold what its header says: {error}; fetch it again") from None


def _copied(path: Path, dtype: np.dtype[Any], shape: Shape, offset: int) -> Array:
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(data, dtype).reshape(shape)


def plain_file_name(name: str) -> bool:
    """Whether ``name`` names a file in its own folder: no separators, no drive, no parent."""
    return bool(name) and name not in (".", "..") and not set(name) & set("/\\:\0")
