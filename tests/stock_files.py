"""keras_cv's own .h5 files at full size, with random weights, in the layout that Keras 2 wrote."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from sdgen.checkpoints.keras_cv_h5 import DECODER, TEXT_ENCODER, UNET, _modules, keras_cv_weights
from sdgen.checkpoints.tensors import LazyTensor, Shape, Tensors
from sdgen.cli.benchmark.random_models import open_random

CLASSES = {
    "transformer": "spatial_transformer",
    "text block": "clip_encoder_layer",
    "vae attention": "attention_block",
}
"""Names of keras_cv's layers, by which its networks are told apart."""

NUMBERS = np.random.default_rng(7).uniform(-1, 1, (1 << 20) + 7)
"""Repeated to fill each tensor, which takes a tenth of the time of drawing it."""


def write_stock_files(folder: Path, model: str = "random-sd2.1") -> None:
    """Write a model's diffusion model, text encoder and decoder, in float16: 2.5 GB."""
    checkpoint = open_random(model)
    parts = {UNET: checkpoint.unet, TEXT_ENCODER: checkpoint.text_encoder, DECODER: checkpoint.vae}
    for network, component in parts.items():
        layers = keras_cv_weights(network, random_halves(component.tensors))
        kinds = [module.kind for module in _modules(network, len(layers))]
        with h5py.File(folder / f"{network.replace(' ', '_')}.h5", "w") as file:
            names = []
            for i, (kind, weights) in enumerate(zip(kinds, layers, strict=True)):
                names.append(f"{CLASSES.get(kind, kind.replace(' ', '_'))}_{i}")
                group = file.create_group(names[-1])
                group.attrs["weight_names"] = [f"weight_{k}".encode() for k in range(len(weights))]
                for k, weight in enumerate(weights):
                    group[f"weight_{k}"] = weight.read()
            file.attrs["layer_names"] = [name.encode() for name in names]


def random_halves(tensors: Tensors) -> Tensors:
    """Tensors of the same names and shapes in float16, scaled so that activations stay near 1."""
    half, shapes = np.dtype(np.float16), tensors.shapes()
    return Tensors(
        {name: LazyTensor(shape, half, partial(_fill, name, shape)) for name, shape in shapes.items()}
    )


def _fill(name: str, shape: Shape) -> np.ndarray:
    if len(shape) == 1:
        return np.full(shape, float("norm" in name and name.endswith(".weight")), np.float16)
    scale = math.sqrt(3 / math.prod(shape[1:]))
    return np.resize((NUMBERS * scale).astype(np.float16), shape)
