"""Textual inversion files: a name and the token embeddings that stand for it (Gal et al. 2022)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdgen.checkpoints.weight_file import read_texts, read_weights
from sdgen.errors import CheckpointError, ModelUnavailable

MAX_NAME = 500
"""Characters of a word."""

MAX_VECTORS = 75
"""The most vectors of an embedding: the tokens of a prompt that CLIP's text encoder takes."""

_NAMELESS = ("emb_params", "clip_l", "*")
"""Tensor names of AUTOMATIC1111, ComfyUI and kohya's trainer that say nothing; the file's name counts."""

_NAMED = "string_to_param."
"""How a tensor's name begins in pickles that the method's own code or AUTOMATIC1111 wrote. They hold the word
as ``name``, too, which diffusers and AUTOMATIC1111 prefer to the file's name."""


def read_embedding(path: str | Path, *, width: int | None = None) -> tuple[str, NDArray[np.float32]]:
    """Read a textual inversion for SD 1.x or 2.x.

    The file holds one tensor. In ``.safetensors`` AUTOMATIC1111 calls it ``emb_params`` and takes the file's
    name for the prompt's word; diffusers calls it what the prompt's word is, for example ``<cat-toy>``.

    Args:
        path: a ``.safetensors`` file, or a pickle (``.pt``, ``.bin``).
        width: the text encoder's width, 768 for SD 1.x and 1024 for SD 2.x; checked if given.

    Returns:
        The word and its vectors, float32 (vectors, width); 1 to 75 vectors.

    Raises:
        ModelUnavailable: there is no such file.
        CheckpointError: it is damaged, holds something else, or is of another width.
    """
    path = Path(path)
    if not os.path.exists(path):
        raise ModelUnavailable(f"there is no textual inversion file {path}")
    tensors = read_weights(path)
    named = tensors.renamed(lambda name: name[len(_NAMED) :] if name.startswith(_NAMED) else None)
    tensors = named or tensors
    if "clip_g" in tensors:
        raise CheckpointError(
            f"{path} is a textual inversion for SDXL (it holds clip_g); use one for SD 1 or 2"
        )
    if len(tensors) != 1:
        raise CheckpointError(
            f"{path} holds {len(tensors)} tensors, a textual inversion one; is it a LoRA or a model?"
        )
    ((name, shape),) = tensors.shapes().items()
    fits = len(shape) in (1, 2) and 1 <= (shape[0] if len(shape) == 2 else 1) <= MAX_VECTORS
    with np.errstate(over="ignore"):
        vectors = np.atleast_2d(tensors[name].astype(np.float32)) if fits else None
    if vectors is None or not np.isfinite(vectors).all():
        raise CheckpointError(
            f"{path} is not a textual inversion: {name} of shape {shape} is not 1 to {MAX_VECTORS} "
            "vectors of finite numbers"
        )
    if width is not None and vectors.shape[1] != width:
        raise CheckpointError(
            f"{path} has vectors of {vectors.shape[1]} numbers and the model's text encoder takes {width}; "
            "768 is for SD 1.x and 1024 for SD 2.x"
        )
    if named:  # The tensor's own name is what stood for it in training.
        word = read_texts(path).get("name", "")
        return word if 0 < len(word) <= MAX_NAME else path.stem, vectors
    return path.stem if name in _NAMELESS else name, vectors
