"""HDF5 weight files as Keras 2 wrote them (``Model.save_weights("x.h5")``), read without Keras.

The root lists its layers in order (attribute ``layer_names``), each layer's group its weights
(``weight_names``), each weight a dataset under the group (keras-team/tf-keras, saving/legacy/hdf5_format.py).
"""

from __future__ import annotations

from itertools import chain, count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from sdgen.checkpoints.foreign_files import refuse_foreign
from sdgen.checkpoints.tensors import LazyTensor, mapped
from sdgen.errors import CheckpointError


def read_layers(path: Path) -> list[tuple[str, list[LazyTensor]]]:
    """The layers that have weights: name and weights, in the file's order.

    Raises:
        CheckpointError: the file is damaged or not of this format, or a folder.
    """
    import h5py

    if path.is_dir():
        raise CheckpointError(f"{path} is a folder where a .h5 file belongs; put the file in its place")
    refuse_foreign(path)
    try:
        with h5py.File(path, "r") as file:
            root = _member(path, file, "model_weights", h5py.Group) if "model_weights" in file else file
            if not any(name.startswith("layer_names") for name in root.attrs):
                raise CheckpointError(
                    f"{path} has no layer_names; a weight file as Keras 2 wrote it is needed, like keras_cv's"
                )
            layers = []
            for layer in _text_attribute(root, "layer_names"):
                group = _member(path, root, layer, h5py.Group)
                weights = _text_attribute(group, "weight_names")
                if weights:
                    layers.append((layer, [_tensor(path, group, name) for name in weights]))
            return layers
    except (OSError, KeyError, RuntimeError, UnicodeError) as error:
        raise CheckpointError(
            f"{path} is truncated or not an HDF5 file ({error}); delete it and fetch or copy it again"
        ) from None


def _text_attribute(group: Any, name: str) -> list[str]:
    """A list of names; Keras 2 splits one of more than 64 kB into ``name0``, ``name1``, ..."""
    parts = [name, *takewhile(group.attrs.__contains__, (f"{name}{number}" for number in count()))]
    values = chain.from_iterable(np.ravel(group.attrs.get(part, ())) for part in parts)
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _member(path: Path, group: Any, name: str, kind: type) -> Any:
    """An object of the file itself: HDF5 links may lead into other files, and are refused."""
    import h5py

    for part in name.split("/"):
        inside = isinstance(group, h5py.Group) and part in group
        if not inside or not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise CheckpointError(f"{path}: {name} is missing or leads to another file; fetch the file again")
        group = group[part]
    if not isinstance(group, kind):
        raise CheckpointError(f"{path}: {name} is not what it should be; fetch the file again")
    return group


def _tensor(path: Path, group: Any, name: str) -> LazyTensor:
    """A dataset, by its place in the file: Keras stores each in one uncompressed piece."""
    import h5py

    dataset = _member(path, group, name, h5py.Dataset)
    offset = None if dataset.external or dataset.is_virtual else dataset.id.get_offset()
    if offset is None or dataset.dtype.kind != "f":
        raise CheckpointError(
            f"{path}: {dataset.name} is not stored as plain numbers in the file, as Keras 2 writes them"
        )
    return mapped(path, np.dtype(dataset.dtype), tuple(dataset.shape), offset)
