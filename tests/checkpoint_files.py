"""Small checkpoint files for tests, in formats that other programs write.

The names and shapes come from tests/golden/checkpoints.json.gz; the numbers are a fixed pattern, so that a
digest of each tensor says whether the right numbers arrived in the right layout.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import math
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from safetensors.numpy import save_file

GOLDEN = Path(__file__).parent / "golden"
MINI = Path(__file__).parents[1] / "src/sdgen/models/data/sd-mini"


@functools.cache
def golden() -> dict[str, Any]:
    """What tests/golden/make_checkpoints.py stored."""
    return json.loads(gzip.decompress((GOLDEN / "checkpoints.json.gz").read_bytes()))


def pattern(index: int, shape: Sequence[int]) -> np.ndarray:
    """Float32 numbers from 0 to 16 that differ from tensor to tensor and from place to place."""
    size = math.prod(shape)
    return (
        ((np.arange(size, dtype=np.int64) * 7919 + index * 104729) % 65521 / 4096)
        .astype(np.float32)
        .reshape(shape)
    )


def digest(array: np.ndarray) -> str:
    """The first 16 hexadecimal digits of the sha256 of the numbers, row by row."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def digests(tensors: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
    """Shape and digest of each tensor, as the golden file has them."""
    return {name: [list(tensors[name].shape), digest(tensors[name])] for name in sorted(tensors)}


def write_stored(path: Path, stored: Iterable[tuple[str, Sequence[int]]], metadata: Any = None) -> Path:
    """A ``.safetensors`` file with tensors of these names and shapes."""
    arrays = {name: pattern(index, shape) for index, (name, shape) in enumerate(stored)}
    save_file(arrays, path, metadata)
    return path


def write_keras_h5(path: Path, layers: Sequence[tuple[str, Sequence[tuple[str, Sequence[int]]]]]) -> Path:
    """A weight file as Keras 2 writes it (tf-keras, saving/legacy/hdf5_format.py)."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer, _ in layers]
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.16.0"
        index = 0
        for layer, weights in layers:
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name, _ in weights]
            for name, shape in weights:
                group.create_dataset(name, data=pattern(index, shape))
                index += 1
    return path


def write_model_folder(folder: Path, dtype: Any = np.float32, prefix: str = "") -> Path:
    """A diffusers folder with a few tensors in each network; enough for what is tested of folders."""
    parts = {
        "unet": ("diffusion_pytorch_model", {"conv_in.weight": (8, 4, 3, 3), "conv_in.bias": (8,)}),
        "vae": ("diffusion_pytorch_model", {"decoder.conv_in.weight": (8, 4, 3, 3)}),
        "text_encoder": ("model", {f"{prefix}final_layer_norm.weight": (8,)}),
    }
    classes = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel"}
    index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline"}
    for part, (stem, shapes) in parts.items():
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps({"name": part}))
        arrays = {
            name: pattern(number, shape).astype(dtype) for number, (name, shape) in enumerate(shapes.items())
        }
        save_file(arrays, folder / part / f"{stem}.safetensors")
        index[part] = ["library", classes[part]]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "tokenizer").symlink_to(MINI / "tokenizer")
    (folder / "scheduler").symlink_to(MINI / "scheduler")
    return folder


def arrays_of(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every tensor, read."""
    return dict(tensors.items())


def die_of_the_first(path: Path) -> dict[str, Any]:
    """In place of ``keras_hdf5.answer``: a process that one file ends."""
    if path.name == "A.h5":
        os.kill(os.getpid(), signal.SIGKILL)
    from sdgen.checkpoints.keras_hdf5 import answer

    return answer(path)
