"""Diffusers model folders: model_index.json, unet/, vae/, text_encoder/, tokenizer/, scheduler/."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from reprlib import repr as short
from typing import Any

from sdgen.checkpoints import families
from sdgen.checkpoints.checkpoint import Checkpoint, Component
from sdgen.checkpoints.safetensors_file import read_safetensors
from sdgen.checkpoints.tensors import Tensors, merge, plain_file_name
from sdgen.errors import CheckpointError
from sdgen.files.json_files import read_json
from sdgen.text.tokenizer import ClipTokenizer

CLASSES: Mapping[str, tuple[str, ...]] = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel",),
}
"""The networks of Stable Diffusion 1 and 2, as model_index.json names them."""

WEIGHTS_NAMES: Mapping[str, str] = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}


def open_folder(folder: Path, variant: str | None = None, own_vae: bool = True) -> Checkpoint:
    """A diffusers folder, its weights unread.

    Args:
        folder: the folder that holds model_index.json.
        variant: weights to prefer where a network has several, for example "fp16"
            (``diffusion_pytorch_model.fp16.safetensors``). None takes the plain file, or the only
            variant there is.
        own_vae: whether it must have a VAE; see ``open_checkpoint``.

    Raises:
        CheckpointError: a file is missing, damaged or of a kind that is not read, or no network has the
            variant.
    """
    index_file = folder / "model_index.json"
    index = read_json(index_file)
    parts = [name for name in WEIGHTS_NAMES if name != "vae" or own_vae or _has_weights(folder, index, name)]
    _check_classes(index_file, index, parts)
    stems = {name: choose_weights(folder / name, WEIGHTS_NAMES[name], variant) for name in parts}
    if variant is not None and all(found != variant for found, _ in stems.values()):
        raise CheckpointError(f"{folder} has no weights of variant {variant!r}; leave the variant out")
    components = {name: read_component(folder / name, name, weights) for name, (_, weights) in stems.items()}
    return Checkpoint(
        name=folder.resolve().name,
        unet=components["unet"],
        text_encoder=components["text_encoder"],
        vae=components.get("vae") or Component.missing(families.SD1.vae, f"{folder / 'vae'}"),
        tokenizer=ClipTokenizer.from_files(folder / "tokenizer"),
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
        source=str(folder),
    )


def read_component(folder: Path, name: str, weights: Path) -> Component:
    """One network of a diffusers folder.

    Args:
        folder: holds config.json.
        name: "unet", "vae" or "text_encoder".
        weights: a ``.safetensors`` file or the index of a sharded one, as ``choose_weights`` gives it.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    tensors, files = _read_weights(weights)
    return Component(read_json(folder / "config.json"), tensors.renamed(RENAMES[name]), files, str(folder))


def choose_weights(folder: Path, stem: str, variant: str | None) -> tuple[str, Path]:
    """The variant ("" for the plain one) and the file or shard index to read in a network's folder.

    A variant is named before the ending: ``stem.fp16.safetensors``; for an index after it:
    ``stem.safetensors.index.fp16.json`` (diffusers and transformers, ``_add_variant``).

    Raises:
        CheckpointError: there is none, or there are several and none is plain or wanted.
    """
    pattern = re.compile(
        re.escape(stem) + r"(?:\.(?P<file>\w+))?\.safetensors(?:\.index(?:\.(?P<index>\w+))?\.json)?"
    )
    found: dict[str, Path] = {}
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    for name in names:
        match = pattern.fullmatch(name)
        if match:
            found.setdefault(match["file"] or match["index"] or "", folder / name)
    if variant in found:
        return variant or "", found[variant or ""]
    if "" in found:
        return "", found[""]
    if len(found) == 1:
        return next(iter(found.items()))
    if found:
        raise CheckpointError(f"{folder} has weights in the variants {', '.join(found)}; say which to use")
    unsafe = [name for name in names if name.endswith((".bin", ".pt", ".ckpt", ".msgpack"))]
    if unsafe:
        raise CheckpointError(
            f"{folder} has its weights only as {unsafe[0]}, a pickle, which can run code when it is read; "
            "take the model's .safetensors files, or convert it with diffusers: "
            "pipe.save_pretrained(folder, safe_serialization=True)"
        )
    raise CheckpointError(f"{folder} has no {stem}.safetensors; fetch or copy the whole model again")


def _read_weights(path: Path) -> tuple[Tensors, tuple[Path, ...]]:
    if path.suffix != ".json":
        return read_safetensors(path), (path,)
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{path} has no weight_map; fetch or copy it again")
    for name in weight_map.values():
        if not isinstance(name, str) or not plain_file_name(name):
            raise CheckpointError(
                f"{path} points at {short(name)}, outside its own folder; do not use this model"
            )
    shards = {name: path.parent / name for name in sorted(set(weight_map.values()))}
    for shard in shards.values():
        if not os.path.exists(shard):  # Path.exists raises where the name is too long
            raise CheckpointError(f"{shard} is missing, one of {len(shards)} parts; fetch or copy it again")
    contents = {name: read_safetensors(shard) for name, shard in shards.items()}
    for key, name in weight_map.items():
        if key not in contents[name]:
            raise CheckpointError(
                f"{shards[name]} lacks {_shown(key)}, which {path.name} places there; fetch it again"
            )
    return merge(contents.values()), tuple(shards.values())


def _has(folder: Path, index: Mapping[str, Any], name: str) -> bool:
    """Whether a folder has a network, as far as its index and its folders say."""
    return index.get(name) not in (None, [None, None]) and (folder / name).is_dir()


def _has_weights(folder: Path, index: Mapping[str, Any], name: str) -> bool:
    """Whether there are weights of a network that can be read."""
    return _has(folder, index, name) and any(
        ".safetensors" in entry.name for entry in (folder / name).iterdir()
    )


def _check_classes(path: Path, index: Mapping[str, Any], parts: Iterable[str]) -> None:
    for name in parts:
        classes, entry = CLASSES[name], index.get(name)
        if name == "vae" and not _has(path.parent, index, name):
            raise CheckpointError(
                f"{path.parent} has no VAE; copy the whole folder again, or give one with --vae"
            )
        found = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
        if found not in classes:
            kind = _shown(index.get("_class_name", "model"))
            raise CheckpointError(
                f"{path} describes a {kind} whose {name} is {_shown(found or 'absent')}; only Stable "
                f"Diffusion 1 and 2 are read, where it is {classes[0]}"
            )
    if index.get("text_encoder_2", [None, None]) != [None, None]:
        raise CheckpointError(
            f"{path} describes a model with two text encoders (SDXL); only SD 1 and 2 are read"
        )


def _shown(value: Any) -> str:
    """A name that a file gives, as short text."""
    return value if isinstance(value, str) and len(value) < 80 else short(value)


_OLD_ATTENTION: Mapping[str, str] = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}
"""Names of the VAE's attention before diffusers 0.15 -> today's."""


def _unet_name(name: str) -> str:
    return name


def _vae_name(name: str) -> str:
    head, _, layer = name.partition(".attentions.0.")
    old, _, kind = layer.rpartition(".")
    return f"{head}.attentions.0.{_OLD_ATTENTION[old]}.{kind}" if old in _OLD_ATTENTION else name


def _text_encoder_name(name: str) -> str | None:
    name = name.removeprefix("text_model.")
    # Position numbers of older files; the projection of CLIP's own task, which Stable Diffusion does without.
    return None if name in ("embeddings.position_ids", "text_projection.weight") else name


RENAMES: Mapping[str, Callable[[str], str | None]] = {
    "unet": _unet_name,
    "vae": _vae_name,
    "text_encoder": _text_encoder_name,
}
"""Stored name -> name in use, by network; None for what no network needs."""
