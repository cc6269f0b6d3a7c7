"""Weights of every format, under diffusers names.

``open_checkpoint`` reads diffusers folders, single files in the original naming of Stable Diffusion
(``.safetensors``, or pickles such as ``.ckpt``), and keras_cv's ``.h5`` files. Names, shapes and
configuration come at once, each tensor's values when they are asked for. Nothing here runs code from a file:
what a pickle asks for beside tensors is refused (``pickles``).
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from sdgen.checkpoints.checkpoint import Checkpoint, Component, check_shapes, file_sha256
from sdgen.checkpoints.families import REGISTRY, Registry
from sdgen.diffusion.choices import PREDICTION_TYPES
from sdgen.errors import CheckpointError, InputError, ModelUnavailable
from sdgen.files.foreign_files import PICKLES

__all__ = ["Checkpoint", "Component", "check_shapes", "file_sha256", "open_checkpoint"]


def open_checkpoint(
    path: str | Path,
    variant: str | None = None,
    *,
    prediction_type: str | None = None,
    own_vae: bool = True,
    families: Registry = REGISTRY,
) -> Checkpoint:
    """A checkpoint on this machine, its weights unread.

    Args:
        path: a diffusers folder, a folder with keras_cv's ``.h5`` files, keras_cv's diffusion model
            (``.h5``) with the other files beside it, or a single ``.safetensors`` file or pickle.
        variant: weights to prefer in a diffusers folder, for example "fp16"; nothing else has any.
        prediction_type: one of ``PREDICTION_TYPES``, in place of what the checkpoint says or suggests.
        own_vae: whether it must have a VAE. Without one its VAE has a configuration and no tensors, for
            ``with_vae`` to replace.
        families: those that it may be of.

    Raises:
        InputError: ``prediction_type`` is unknown.
        ModelUnavailable: there is nothing at ``path``.
        CheckpointError: it cannot be read.
    """
    from sdgen.checkpoints.diffusers_folder import open_folder
    from sdgen.checkpoints.keras_cv_h5 import open_h5
    from sdgen.checkpoints.single_file import open_single_file

    path = Path(path)
    if prediction_type is not None and prediction_type not in PREDICTION_TYPES:
        raise InputError(
            f"prediction_type must be one of {', '.join(PREDICTION_TYPES)}, not {prediction_type!r}",
            "prediction_type",
        )
    if not os.path.exists(path):  # Path.exists raises where the name is too long
        raise ModelUnavailable(f"there is no model at {path}")
    suffix = path.suffix.lower()
    folder = path.is_dir()
    keras_cv = folder and not (path / "model_index.json").exists() and any(path.glob("*.h5"))
    if folder and not keras_cv:
        checkpoint = open_folder(path, variant, own_vae, families)
        if prediction_type is not None and "prediction_type" in checkpoint.family.forced:
            raise InputError(
                f"models of the family {checkpoint.family.name} predict what they were trained on alone; "
                "leave the prediction type out",
                "prediction_type",
            )
        scheduler = {**checkpoint.scheduler, "prediction_type": prediction_type}
        return checkpoint if prediction_type is None else dataclasses.replace(checkpoint, scheduler=scheduler)
    if variant is not None:
        raise CheckpointError(f"{path} has no weights of variant {variant!r}; leave the variant out")
    if suffix == ".h5" or keras_cv:
        return open_h5(path, prediction_type, own_vae, families)
    if suffix in (".safetensors", *PICKLES):
        return open_single_file(path, prediction_type, own_vae, families)
    raise CheckpointError(
        f"{path} is of no known kind; a diffusers folder, a .safetensors or .ckpt file or keras_cv's .h5 is "
        "needed"
    )
