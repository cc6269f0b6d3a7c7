"""Another VAE in place of a checkpoint's own (``--vae``)."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from sdgen.checkpoints.checkpoint import Checkpoint, Component
from sdgen.checkpoints.diffusers_folder import choose_weights, read_component
from sdgen.checkpoints.families.networks import VAE as AUTOENCODER
from sdgen.checkpoints.families.shape_config import vae_config
from sdgen.checkpoints.single_file import VAE, vae_tensors
from sdgen.checkpoints.weight_file import read_weights
from sdgen.errors import CheckpointError, ModelUnavailable


def with_vae(checkpoint: Checkpoint, path: str | Path, variant: str | None = None) -> Checkpoint:
    """The checkpoint with its VAE replaced.

    Args:
        checkpoint: any checkpoint.
        path: a diffusers VAE folder, a diffusers model folder (its vae/ is taken), or a ``.safetensors``
            file or a pickle with a VAE under LDM's or diffusers' names, or a whole single-file model. A file
            says nothing of its scale: the family's 0.18215 is kept from the checkpoint.
        variant: weights to prefer in a folder, for example "fp16".

    Raises:
        ModelUnavailable: there is nothing at ``path``.
        CheckpointError: it is not a VAE, or one for another number of latent channels, or the model has
            another kind of autoencoder.
    """
    path = Path(path)
    if not os.path.exists(path):
        raise ModelUnavailable(f"there is no VAE at {path}")
    vae = _read_folder(path, variant) if path.is_dir() else _read_file(path, checkpoint)
    name = checkpoint.family.autoencoder
    if checkpoint.family.networks[name].class_name != AUTOENCODER.class_name:
        label = checkpoint.family.label(name)
        raise CheckpointError(f"{checkpoint.name} has a {label}, which no VAE replaces; leave out --vae")
    channels = vae.config.get("latent_channels", 4)
    wanted = checkpoint.vae.config.get("latent_channels", 4)
    if channels != wanted:
        raise CheckpointError(
            f"the VAE {path} has {channels} latent channels and {checkpoint.name} has {wanted}; take one "
            "that belongs to Stable Diffusion 1 or 2"
        )
    changed = checkpoint.with_components({name: vae})
    return dataclasses.replace(changed, changes=(*checkpoint.changes, "vae replaced"))


def _read_folder(folder: Path, variant: str | None) -> Component:
    if not (folder / "config.json").exists():
        folder = folder / "vae"
    _, weights = choose_weights(folder, AUTOENCODER.weights_name, variant)
    return read_component(folder, AUTOENCODER, weights)


def _read_file(path: Path, checkpoint: Checkpoint) -> Component:
    stored = read_weights(path)
    if any(name.startswith(VAE) for name in stored):
        stored = stored.renamed(lambda name: name.removeprefix(VAE) if name.startswith(VAE) else None)
    if "decoder.up.0.block.0.conv1.weight" in stored:
        tensors = vae_tensors(stored)
    elif "decoder.up_blocks.0.resnets.0.conv1.weight" in stored:
        tensors = stored.renamed(AUTOENCODER.rename)
    else:
        raise CheckpointError(f"{path} holds no VAE; a file with first_stage_model.* or decoder.* is needed")
    scale = {
        key: checkpoint.vae.config[key]
        for key in ("scaling_factor", "norm_num_groups", "force_upcast")
        if key in checkpoint.vae.config
    }
    config = vae_config(checkpoint.family, tensors.shapes()) | scale
    return Component(config, tensors, (path,), str(path))
