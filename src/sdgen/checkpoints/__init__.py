"""Weights of every format, under diffusers names.

``open_checkpoint`` reads diffusers folders, single ``.safetensors`` files in the original naming of Stable
Diffusion, and keras_cv's ``.h5`` files. Names, shapes and configuration come at once, each tensor's values
when they are asked for. Nothing here runs code from a file: pickles (``.ckpt``, ``.pt``, ``.bin``) are
refused.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from sdgen.checkpoints.checkpoint import Checkpoint, Component, check_shapes, file_sha256
from sdgen.errors import CheckpointError, InputError, ModelUnavailable

__all__ = ["Checkpoint", "Component", "check_shapes", "file_sha256", "open_checkpoint"]

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")

PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")


def open_checkpoint(
    path: str | Path, variant: str | None = None, *, prediction_type: str | None = None
) -> Checkpoint:
    """A checkpoint on this machine, its weights unread.

    Args:
        path: a diffusers folder, a folder with keras_cv's ``.h5`` files, keras_cv's diffusion model
            (``.h5``) with the other files beside it, or a single ``.safetensors`` file.
        variant: weights to prefer in a diffusers folder, for example "fp16".
        prediction_type: one of ``PREDICTION_TYPES``, in place of what the checkpoint says or suggests.

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
    if not path.exists():
        raise ModelUnavailable(f"there is no model at {path}")
    suffix = path.suffix.lower()
    if path.is_dir() and not (path / "model_index.json").exists() and any(path.glob("*.h5")):
        return open_h5(path, prediction_type)
    if path.is_dir():
        checkpoint = open_folder(path, variant)
        scheduler = {**checkpoint.scheduler, "prediction_type": prediction_type}
        return checkpoint if prediction_type is None else dataclasses.replace(checkpoint, scheduler=scheduler)
    if suffix == ".h5":
        return open_h5(path, prediction_type)
    if suffix == ".safetensors":
        return open_single_file(path, prediction_type)
    if suffix in PICKLES:
        raise CheckpointError(
            f"{path} is a pickle, which can run code when it is read; take the model's .safetensors file, or "
            "convert it on a machine you can spare: load it with torch.load(weights_only=True) and store its "
            "state_dict with safetensors.torch.save_file"
        )
    raise CheckpointError(
        f"{path} is of no known kind; a diffusers folder, a .safetensors file or keras_cv's .h5 is needed"
    )
