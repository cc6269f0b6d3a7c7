"""Tensors as PyTorch stores them: a row of numbers in a file, and views of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sdgen.checkpoints.float8 import widened
from sdgen.checkpoints.tensors import MAX_DIMENSIONS, Array, LazyTensor, Shape, mapped
from sdgen.errors import CheckpointError

MAX_NUMBERS = 1 << 40
"""The most numbers in a storage or a tensor."""


@dataclass(eq=False)
class Storage:
    """A row of numbers.

    Attributes:
        dtype: ``ml_dtypes``' or NumPy's name of the numbers' kind.
        numbers: how many there are.
        start: the first byte in the file, None as long as it is not known.
        whole: the storage that this one is a part of, and from which byte on.
    """

    dtype: str
    numbers: int
    start: int | None = None
    whole: tuple[Storage, int] | None = None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.numbers * numpy_dtype(self.dtype).itemsize

    def place(self) -> int | None:
        """The first byte in the file."""
        if self.whole is None:
            return self.start
        storage, offset = self.whole
        return None if storage.start is None else storage.start + offset


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor, as a view of a storage.

    Attributes:
        storage: holds its numbers.
        offset: its first number in the storage.
        shape: its shape.
        strides: by how many numbers one goes on along each axis.
        dtype: of its numbers.
    """

    storage: Storage
    offset: int
    shape: Shape
    strides: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """How many bytes the tensor takes once it is read."""
        return math.prod(self.shape) * numpy_dtype(self.dtype).itemsize

    def fits(self) -> bool:
        """Whether it has a possible shape and lies inside its storage."""
        if len(self.shape) > MAX_DIMENSIONS or len(self.shape) != len(self.strides):
            return False
        numbers = (self.offset, *self.shape, *self.strides)
        if any(type(number) is not int or not 0 <= number < MAX_NUMBERS for number in numbers):
            return False
        if math.prod(self.shape) >= MAX_NUMBERS:
            return False
        return (self.offset + self._span()) * numpy_dtype(self.dtype).itemsize <= self.storage.size

    def _span(self) -> int:
        """Numbers from its first to its last."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))

    def lazy(self, path: Path, big_endian: bool) -> LazyTensor:
        """The tensor in a file, mapped when it is read, or copied if its numbers lie there in another order.

        Eight-bit floats come as float16, without loss.

        Raises:
            CheckpointError: the file does not say where the storage is.
        """
        start = self.storage.place()
        if start is None:
            raise CheckpointError(f"{path} lacks the numbers of a tensor; delete it and fetch it again")
        dtype = numpy_dtype(self.dtype)
        start += self.offset * dtype.itemsize
        swapped = big_endian and dtype.itemsize > 1
        if self._row_major() and not swapped:
            entry = mapped(path, dtype, self.shape, start)
        else:
            integers = np.dtype(f"{'>' if swapped else '<'}u{dtype.itemsize}")
            span = mapped(path, integers, (self._span(),), start)
            entry = LazyTensor(self.shape, dtype, partial(self._gathered, span, dtype))
        return widened(entry) if self.dtype.startswith("float8") else entry

    def _row_major(self) -> bool:
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != expected:
                return 0 in self.shape
            expected *= size
        return True

    def _gathered(self, span: LazyTensor, dtype: np.dtype[np.generic]) -> Array:
        """A copy of the view, in the order and the machine's bytes."""
        integers = np.dtype(f"=u{dtype.itemsize}")
        strides = tuple(stride * dtype.itemsize for stride in self.strides)
        view = np.lib.stride_tricks.as_strided(span.read(), self.shape, strides, writeable=False)
        copy = np.array(view, integers, order="C")
        return copy.view(dtype) if self.shape else copy.reshape(1).view(dtype).reshape(())


def numpy_dtype(name: str) -> np.dtype[np.generic]:
    """A dtype by its name in NumPy or ``ml_dtypes``."""
    if name.startswith(("bfloat", "float8")):
        import ml_dtypes

        small: np.dtype[np.generic] = np.dtype(getattr(ml_dtypes, name))
        return small
    return np.dtype(name)
