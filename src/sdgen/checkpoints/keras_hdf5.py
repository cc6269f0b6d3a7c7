"""HDF5 weight files as Keras 2 wrote them (``Model.save_weights("x.h5")``), read without Keras.

The root lists its layers in order (attribute ``layer_names``), each layer's group its weights
(``weight_names``), each weight a dataset under the group (keras-team/tf-keras, saving/legacy/hdf5_format.py).
Files are opened in another process: those that are damaged make the HDF5 library loop for ever, or crash.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, count, pairwise, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from sdgen.checkpoints.limited_process import in_child
from sdgen.checkpoints.tensors import MAX_DIMENSIONS, LazyTensor, Shape, mapped
from sdgen.errors import CheckpointError
from sdgen.files.foreign_files import refuse_foreign

MAX_NAMES = 10_000
"""The most layers and weights in a file; keras_cv's largest network has about 1,200."""

MAX_NAME = 500
"""Characters of a name; keras_cv's have up to 60."""


Layers = list[tuple[str, list[LazyTensor]]]
"""Layers that have weights: name and weights, in the file's order."""

_Places = list[tuple[str, list[tuple[Shape, str, int]]]]
"""Layers that have weights: name, and the shape, dtype and first byte of each weight."""


ANSWER = "sdgen.checkpoints.keras_hdf5:answer"
"""The function that reads a file in the other process."""


def read_layers(path: Path) -> Layers:
    """The layers of a file.

    No two weights share bytes, so that together they are no larger than the file.

    Raises:
        CheckpointError: the file is damaged or not of this format, or a folder.
    """
    result = read_files([path])[path]
    if isinstance(result, CheckpointError):
        raise result
    return result


def read_files(paths: Sequence[Path]) -> dict[Path, Layers | CheckpointError]:
    """The layers of each file, or what is wrong with it."""
    results: dict[Path, Layers | CheckpointError] = {}
    answers = in_child(ANSWER, paths) if paths else []
    for path, answer in zip(paths, answers, strict=False):
        results[path] = (
            CheckpointError(answer["error"]) if "error" in answer else _layers(path, answer["layers"])
        )
    for number, path in enumerate(paths[len(answers) :]):
        fault = "truncated or altered (the HDF5 library cannot read it); delete it and fetch or copy it again"
        unread = f"not looked at, since the HDF5 library cannot read {paths[len(answers)]}"
        results[path] = CheckpointError(f"{path} is {unread if number else fault}")
    return results


def _layers(path: Path, places: _Places) -> Layers:
    return [
        (name, [mapped(path, np.dtype(dtype), tuple(shape), start) for shape, dtype, start in weights])
        for name, weights in places
    ]


def answer(path: Path) -> dict[str, Any]:
    """What ``read_files`` needs to know of a file, as JSON has it."""
    try:
        return {"layers": _places(path)}
    except CheckpointError as error:
        return {"error": str(error)}


def _places(path: Path) -> _Places:
    import h5py

    if path.is_dir():
        raise CheckpointError(f"{path} is a folder where a .h5 file belongs; put the file in its place")
    refuse_foreign(path)
    try:
        with h5py.File(path, "r") as file:
            return _Reader(path).layers(file)
    except (OSError, KeyError, RuntimeError, UnicodeError, ValueError, TypeError, MemoryError) as error:
        raise CheckpointError(
            f"{path} is truncated or not an HDF5 file ({str(error)[:200]}); delete it and fetch or copy it "
            "again"
        ) from None


class _Reader:
    """Reads one file; counts what it holds, so that few bytes cannot stand for many."""

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, path.stat().st_size
        self._names = 0
        self._ranges: list[tuple[int, int, str]] = []

    def layers(self, file: Any) -> _Places:
        """Where the weights of an open file lie."""
        import h5py

        root = self._member(file, "model_weights", h5py.Group) if "model_weights" in file else file
        if not any(name.startswith("layer_names") for name in root.attrs):
            raise CheckpointError(
                f"{self._path} has no layer_names; a weight file as Keras 2 wrote it is needed, like "
                "keras_cv's"
            )
        layers = []
        for layer in self._text_attribute(root, "layer_names"):
            group = self._member(root, layer, h5py.Group)
            weights = self._text_attribute(group, "weight_names")
            if weights:
                layers.append((layer, [self._tensor(group, name) for name in weights]))
        self._ranges.sort()
        for (_, end, name), (start, _, other) in pairwise(self._ranges):
            if start < end:
                raise CheckpointError(
                    f"{self._path} is altered: {name} and {other} share bytes; fetch it again"
                )
        return layers

    def _text_attribute(self, group: Any, name: str) -> list[str]:
        """A list of names; Keras 2 splits one of more than 64 kB into ``name0``, ``name1``, ..."""
        parts = [name, *takewhile(group.attrs.__contains__, (f"{name}{number}" for number in count()))]
        parts = [part for part in parts if part in group.attrs]
        stored = [group.attrs.get_id(part) for part in parts]
        self._names += sum(math.prod(attribute.shape or ()) for attribute in stored)
        longest = max((attribute.dtype.itemsize for attribute in stored), default=0)
        if self._names > MAX_NAMES or longest > 4 * MAX_NAME:
            raise CheckpointError(
                f"{self._path} has more than {MAX_NAMES} names, or names longer than {MAX_NAME} characters; "
                "fetch the file again"
            )
        values = chain.from_iterable(np.ravel(group.attrs[part]) for part in parts)
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values]

    def _member(self, group: Any, name: str, kind: type) -> Any:
        """An object of the file itself: HDF5 links may lead into other files, and are refused."""
        import h5py

        if len(name) > MAX_NAME:
            raise CheckpointError(f"{self._path} has a name of {len(name)} characters; fetch the file again")
        for part in name.split("/"):
            inside = isinstance(group, h5py.Group) and part in group
            if not inside or not isinstance(group.get(part, getlink=True), h5py.HardLink):
                raise CheckpointError(
                    f"{self._path}: {name} is missing or leads to another file; fetch the file again"
                )
            group = group[part]
        if not isinstance(group, kind):
            raise CheckpointError(f"{self._path}: {name} is not what it should be; fetch the file again")
        return group

    def _tensor(self, group: Any, name: str) -> tuple[Shape, str, int]:
        """A dataset, by its place in the file: Keras stores each in one uncompressed piece."""
        import h5py

        dataset = self._member(group, name, h5py.Dataset)
        offset = None if dataset.external or dataset.is_virtual else dataset.id.get_offset()
        if offset is None or dataset.dtype.kind != "f":
            raise CheckpointError(
                f"{self._path}: {dataset.name} is not stored as plain numbers in the file, as Keras 2 writes "
                "them"
            )
        shape, dtype = tuple(dataset.shape or ()), np.dtype(dataset.dtype)
        end = offset + math.prod(shape) * dtype.itemsize
        if len(shape) > MAX_DIMENSIONS or end > self._size:
            raise CheckpointError(
                f"{self._path} is truncated or altered: {name} has the shape {shape}; delete it and fetch or "
                "copy it again"
            )
        self._ranges.append((offset, end, name))
        return shape, dtype.str, offset
