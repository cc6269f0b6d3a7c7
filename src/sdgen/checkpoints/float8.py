"""Weights of eight bits, as what they stand for.

float8_e4m3fn and float8_e5m2 (Micikevicius et al. 2022, "FP8 formats for deep learning") are exact in
float16. Files may say a scale for each weight: ``X.scale_weight`` (ComfyUI's files that have a tensor
``scaled_fp8``) or ``X.weight_scale`` (its later files, and compressed-tensors). The weight is what is stored
times the scale, which is one number or one for each output. Scales of inputs (``scale_input``,
``input_scale``) are for products in eight bits, which nothing here computes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sdgen.checkpoints.tensors import Array, LazyTensor, Tensors
from sdgen.errors import CheckpointError

FLOAT8: Mapping[str, str] = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
"""Code in ``.safetensors`` -> ``ml_dtypes``' name."""

_SCALES = (".scale_weight", ".weight_scale")

_UNUSED = (".scale_input", ".input_scale", "scaled_fp8", ".comfy_quant")


def widened(entry: LazyTensor) -> LazyTensor:
    """A tensor of eight-bit floats as float16, without loss."""
    return LazyTensor(entry.shape, np.dtype(np.float16), lambda: entry.read().astype(np.float16))


def rescaled(path: Path, tensors: Tensors) -> Tensors:
    """Tensors with their scales multiplied in, in float32, and without them.

    Args:
        path: what error messages call the file.
        tensors: under any names; those without a scale stay as they are.

    Raises:
        CheckpointError: a scale belongs to no weight, or is neither one number nor one for each output.
    """
    scales = {name: scale for name, scale in tensors.items_lazy() if name.endswith(_SCALES)}
    entries = {
        name: entry
        for name, entry in tensors.items_lazy()
        if name not in scales and not name.endswith(_UNUSED)
    }
    for name, scale in scales.items():
        weight = f"{name.rpartition('.')[0]}.weight"
        entry = entries.get(weight)
        if entry is None:
            raise CheckpointError(f"{path} has a scale {name} without {weight}; fetch the file again")
        numbers = math.prod(scale.shape)
        if numbers != 1 and (numbers, numbers) != (entry.shape[:1] * 2 if len(scale.shape) <= 2 else ()):
            raise CheckpointError(
                f"{path} scales {weight} by {name} of shape {scale.shape}, which is not supported; take the "
                "fp16 or bf16 file"
            )
        entries[weight] = _scaled(entry, scale)
    return Tensors(entries)


def _scaled(entry: LazyTensor, scale: LazyTensor) -> LazyTensor:
    def read() -> Array:
        factors = scale.read().astype(np.float32).reshape(-1, *(1 for _ in entry.shape[1:]))
        product: Array = entry.read().astype(np.float32) * (factors if entry.shape else factors.reshape(()))
        return product

    return LazyTensor(entry.shape, np.dtype(np.float32), read)
