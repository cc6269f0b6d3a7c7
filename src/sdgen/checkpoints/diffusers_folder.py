"""Diffusers model folders: model_index.json, unet/, vae/, text_encoder/, tokenizer/, scheduler/."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any

from sdgen.checkpoints.checkpoint import Checkpoint, Component
from sdgen.checkpoints.families import REGISTRY, Family, Network, Registry
from sdgen.checkpoints.families.registry import has_part
from sdgen.checkpoints.tensors import Tensors, merge, plain_file_name
from sdgen.checkpoints.weight_file import read_weights
from sdgen.errors import CheckpointError
from sdgen.files.json_files import read_json
from sdgen.text.token_rows import Tokenizer

_WEIGHTS = re.compile(r"\.(safetensors|bin)(\.|$)")
"""What the names of weight files and of their indexes contain."""


def open_folder(
    folder: Path, variant: str | None = None, own_vae: bool = True, families: Registry = REGISTRY
) -> Checkpoint:
    """A diffusers folder, its weights unread.

    Args:
        folder: the folder that holds model_index.json.
        variant: weights to prefer where a network has several, for example "fp16"
            (``diffusion_pytorch_model.fp16.safetensors``). None takes the plain file, or the only
            variant there is.
        own_vae: whether it must have a VAE; see ``open_checkpoint``.
        families: those that it may be of.

    Raises:
        CheckpointError: a file is missing, damaged or of a kind that is not read, or no network has the
            variant.
    """
    index_file = folder / "model_index.json"
    index = read_json(index_file)
    candidates = families.of_classes(str(index_file), index)
    networks = {
        name: network
        for name, network in candidates[0].networks.items()
        if _is_read(folder, index, name, network, own_vae)
    }
    stems = {
        name: choose_weights(folder / name, network.weights_name, variant)
        for name, network in networks.items()
    }
    if variant is not None and all(found != variant for found, _ in stems.values()):
        raise CheckpointError(f"{folder} has no weights of variant {variant!r}; leave the variant out")
    components = {
        name: read_component(folder / name, network, stems[name][1]) for name, network in networks.items()
    }
    configs = {name: component.config for name, component in components.items()}
    family = families.of_networks(str(folder), configs, candidates)
    missing = {
        name: Component.missing(family.config(name), f"{folder / name}")
        for name, network in family.networks.items()
        if network.replaceable and name not in components and not own_vae
    }
    return Checkpoint(
        name=folder.resolve().name,
        family=family,
        components={**components, **missing},
        tokenizers=_read_tokenizers(folder, index, family),
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
        low_res_scheduler=_read_low_res_scheduler(folder, index, family),
        source=str(folder),
    )


def _read_low_res_scheduler(folder: Path, index: Mapping[str, Any], family: Family) -> Mapping[str, Any]:
    """The second scheduler of a family that has one; the family's where the folder names none."""
    name = "low_res_scheduler"
    if family.low_res_scheduler and has_part(index, name):
        return read_json(folder / name / "scheduler_config.json")
    return family.low_res_scheduler


def _is_read(folder: Path, index: Mapping[str, Any], name: str, network: Network, own_vae: bool) -> bool:
    """Whether a network of the family is there to be read.

    Raises:
        CheckpointError: there is none, and there must be one.
    """
    if not network.replaceable:
        return has_part(index, name)
    there = has_part(index, name) and (folder / name).is_dir()
    if own_vae and not there:
        raise CheckpointError(
            f"{folder} has no {network.label}; copy the whole folder again, or give one with --vae"
        )
    return there and (own_vae or any(_WEIGHTS.search(entry.name) for entry in (folder / name).iterdir()))


def _read_tokenizers(folder: Path, index: Mapping[str, Any], family: Family) -> dict[str, Tokenizer]:
    """The family's tokenizers; without those that the folder neither has nor names."""
    return {
        text.tokenizer: text.tokenizer_class.from_files(folder / text.tokenizer)
        for text in family.text
        if has_part(index, text.tokenizer) or (folder / text.tokenizer).is_dir()
    }


def read_component(folder: Path, network: Network, weights: Path) -> Component:
    """One network of a diffusers folder.

    Args:
        folder: holds config.json.
        network: of what kind it is.
        weights: a file of weights or the index of a sharded one, as ``choose_weights`` gives it.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    tensors, files = _read_weights(weights)
    return Component(read_json(folder / "config.json"), tensors.renamed(network.rename), files, str(folder))


def choose_weights(folder: Path, stem: str, variant: str | None) -> tuple[str, Path]:
    """The variant ("" for the plain one) and the file or shard index to read in a network's folder.

    A variant is named before the ending: ``stem.fp16.safetensors``; for an index after it:
    ``stem.safetensors.index.fp16.json`` (diffusers and transformers, ``_add_variant``). Pickles
    (``stem.bin``, transformers' ``pytorch_model.bin``) are taken where there is no ``.safetensors`` file.

    Raises:
        CheckpointError: there is none, or there are several and none is plain or wanted.
    """
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    found = _variants(names, re.escape(stem), "safetensors") or _variants(
        names, f"(?:pytorch_)?{re.escape(stem)}", "bin"
    )
    if variant in found:
        return variant or "", folder / found[variant or ""]
    if "" in found:
        return "", folder / found[""]
    if len(found) == 1:
        return next((kind, folder / name) for kind, name in found.items())
    if found:
        raise CheckpointError(f"{folder} has weights in the variants {', '.join(found)}; say which to use")
    others = [name for name in names if name.endswith((".bin", ".pt", ".ckpt", ".msgpack"))]
    if others:
        raise CheckpointError(
            f"{folder} has its weights only as {others[0]}, which diffusers does not read under that name "
            f"either; {stem}.safetensors is needed"
        )
    raise CheckpointError(f"{folder} has no {stem}.safetensors; fetch or copy the whole model again")


def _variants(names: Sequence[str], stem: str, ending: str) -> dict[str, str]:
    """The file or index of each variant, those with a pattern for a stem."""
    pattern = re.compile(rf"{stem}(?:\.(?P<file>\w+))?\.{ending}(?:\.index(?:\.(?P<index>\w+))?\.json)?")
    found: dict[str, str] = {}
    for name in names:
        if match := pattern.fullmatch(name):
            found.setdefault(match["file"] or match["index"] or "", name)
    return found


def _read_weights(path: Path) -> tuple[Tensors, tuple[Path, ...]]:
    if path.suffix != ".json":
        return read_weights(path), (path,)
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
    contents = {name: read_weights(shard) for name, shard in shards.items()}
    for key, name in weight_map.items():
        if key not in contents[name]:
            raise CheckpointError(
                f"{shards[name]} lacks {_shown(key)}, which {path.name} places there; fetch it again"
            )
    return merge(contents.values()), tuple(shards.values())


def _shown(value: Any) -> str:
    """A name that a file gives, as short text."""
    return value if isinstance(value, str) and len(value) < 80 else short(value)
