"""keras_cv's own .h5 files at full size, with random weights, in the layout that Keras 2 wrote."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from sdgen.checkpoints.keras_cv_h5 import DECODER, TEXT_ENCODER, UNET, _modules, keras_cv_weights
from sdgen.cli.benchmark.random_models import open_random

CLASSES = {
    "transformer": "spatial_transformer",
    "text block": "clip_encoder_layer",
    "vae attention": "attention_block",
}
"""Names of keras_cv's layers, by which its networks are told apart."""


def write_stock_files(folder: Path, model: str = "random-sd2.1") -> None:
    """Write a model's diffusion model, text encoder and decoder, in float16: 2.5 GB."""
    checkpoint = open_random(model)
    parts = {UNET: checkpoint.unet, TEXT_ENCODER: checkpoint.text_encoder, DECODER: checkpoint.vae}
    for network, component in parts.items():
        layers = keras_cv_weights(network, component.tensors)
        kinds = [module.kind for module in _modules(network, len(layers))]
        with h5py.File(folder / f"{network.replace(' ', '_')}.h5", "w") as file:
            names = []
            for i, (kind, weights) in enumerate(zip(kinds, layers, strict=True)):
                names.append(f"{CLASSES.get(kind, kind.replace(' ', '_'))}_{i}")
                group = file.create_group(names[-1])
                group.attrs["weight_names"] = [f"weight_{k}".encode() for k in range(len(weights))]
                for k, weight in enumerate(weights):
                    group[f"weight_{k}"] = np.asarray(weight.read(), np.float16)
            file.attrs["layer_names"] = [name.encode() for name in names]
