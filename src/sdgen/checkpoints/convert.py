"""Writing a checkpoint in another format: a diffusers folder, or a single file in the original naming."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sdgen.backend import DTYPES
from sdgen.checkpoints import module_lists
from sdgen.checkpoints.checkpoint import Checkpoint
from sdgen.checkpoints.families import REGISTRY, Family
from sdgen.checkpoints.families.shape_config import (
    CODEBOOK,
    shown_of_unet,
    text_encoder_config,
    unet_config,
    vae_config,
)
from sdgen.checkpoints.single_file import CLASSES, CLIP, OPEN_CLIP, UNET, VAE
from sdgen.checkpoints.tensors import Array, Tensors, concatenate, merge
from sdgen.errors import CheckpointError, InputError, OutputError
from sdgen.text.tokenizer import ClipTokenizer
from sdgen.text.tokenizer_files import clip_vocabulary

CLIP_TOKENS = 49408


def write_folder(checkpoint: Checkpoint, folder: str | Path, dtype: str | None = None) -> None:
    """Write a checkpoint as a diffusers folder, which appears under its name once it is whole.

    Args:
        checkpoint: any checkpoint; what was merged into it or replaced is written as it is now.
        folder: must not exist yet.
        dtype: "float32", "float16" or "bfloat16"; None keeps each tensor's own.

    Raises:
        InputError: an unknown dtype, or ``folder`` exists.
        CheckpointError: the checkpoint cannot be read, lacks a VAE encoder, is of a kind that has no such
            folder, or has numbers beyond the dtype's.
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    _check_whole(checkpoint)
    pipeline = _pipeline_class(checkpoint)

    def write(part: Path) -> None:
        part.mkdir(parents=True)
        # diffusers asks inpainting models for the version that wrote them.
        index: dict[str, Any] = {"_class_name": pipeline, "_diffusers_version": "0.37.0"}
        for name, network in checkpoint.family.networks.items():
            index[name] = [network.library, network.class_name]
            (part / name).mkdir()
            component = checkpoint.component(name)
            _write_json(part / name / "config.json", component.config)
            tensors = component.tensors.renamed((network.written_prefix + "{}").format)
            _write_tensors(part / name / f"{network.weights_name}.safetensors", tensors, dtype, {})
        for text in checkpoint.family.text:
            _write_tokenizer(checkpoint, text.tokenizer, part / text.tokenizer)
            index[text.tokenizer] = ["transformers", text.tokenizer_class_name]
        index |= _write_schedulers(checkpoint, part)
        if pipeline.startswith("Stable"):
            index |= {name: [None, None] for name in ("safety_checker", "feature_extractor")}
            index["requires_safety_checker"] = False
        _write_json(part / "model_index.json", index)

    _write_whole(folder, dtype, write)


def write_single_file(checkpoint: Checkpoint, path: str | Path, dtype: str | None = None) -> None:
    """Write a checkpoint as one ``.safetensors`` file in the original naming.

    Such a file carries no configuration and no tokenizer, so only models that the family's reference
    configuration describes can be written.

    Args:
        checkpoint: one of SD 1 or 2, or of latent diffusion's class-conditional model.
        path: must not exist yet.
        dtype: "float32", "float16" or "bfloat16"; None keeps each tensor's own.

    Raises:
        InputError: an unknown dtype, or ``path`` exists.
        CheckpointError: the checkpoint cannot be read, lacks a VAE encoder, cannot be expressed in this
            format, or has numbers beyond the dtype's.
        OutputError: the file cannot be written.
    """
    _check_whole(checkpoint)
    family = _check_expressible(checkpoint)
    unet, vae = checkpoint.unet.tensors, checkpoint.vae.tensors
    embedders = [checkpoint.component(name) for name in filter(None, [family.class_embedder])]
    parts = [
        _to_ldm(unet, module_lists.unet_modules(module_lists.unet_layout(unet)), UNET),
        _to_ldm(vae, module_lists.vae_modules(vae), VAE),
        *(_embedder(each.tensors) for each in embedders),
        *(
            _ORIGINAL_TEXT[text.original](checkpoint.component(text.component).tensors)
            for text in family.text
        ),
    ]
    prediction = str(checkpoint.scheduler.get("prediction_type", "epsilon"))
    metadata = {"modelspec.prediction_type": "v" if prediction == "v_prediction" else prediction}
    if checkpoint.scheduler.get("rescale_betas_zero_snr"):
        # ComfyUI's mark of a model trained with zero terminal SNR.
        parts.append(Tensors.from_arrays({"ztsnr": np.zeros(0, np.float32)}))
    _write_whole(Path(path), dtype, lambda part: _write_tensors(part, merge(parts), dtype, metadata))


def _to_ldm(tensors: Tensors, modules: Iterable[module_lists.Module], prefix: str) -> Tensors:
    """Tensors under LDM names; linear layers that are 1x1 convolutions in LDM get such a shape."""
    layers = {layer.diffusers: layer for module in modules for layer in module_lists.layers(module)}
    entries = {}
    for name, entry in tensors.items_lazy():
        module, _, kind = name.rpartition(".")
        if name == CODEBOOK:
            entries[prefix + name] = entry
            continue
        if module not in layers:
            raise _misplaced(name)
        pointwise = layers[module].kind == "pointwise" and kind == "weight"
        entries[f"{prefix}{layers[module].ldm}.{kind}"] = (
            entry.reshape((*entry.shape, 1, 1)) if pointwise else entry
        )
    return Tensors(entries)


def _embedder(tensors: Tensors) -> Tensors:
    return tensors.renamed(lambda name: CLASSES + name.removeprefix("embedding."))


def _clip(tensors: Tensors) -> Tensors:
    return tensors.renamed(lambda name: f"{CLIP}text_model.{name}")


def _open_clip(tensors: Tensors) -> Tensors:
    """A text encoder's tensors as OpenCLIP names them, its queries', keys' and values' weights in one."""
    entries = {}
    for name, entry in tensors.items_lazy():
        match = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        if not match:
            if name not in module_lists.TEXT_ENDS:
                raise _misplaced(name)
            entries[OPEN_CLIP + module_lists.TEXT_ENDS[name]] = entry
            continue
        number, layer, kind = match.groups()
        block = f"{OPEN_CLIP}transformer.resblocks.{number}"
        if layer in module_lists.TEXT_LAYER:
            entries[f"{block}.{module_lists.TEXT_LAYER[layer]}.{kind}"] = entry
        elif layer == "self_attn.q_proj":
            thirds = []
            for third in (name.replace("q_proj", part) for part in ("q_proj", "k_proj", "v_proj")):
                if third not in tensors:
                    raise CheckpointError(f"the text encoder lacks {third}; fetch the model again")
                thirds.append(tensors.lazy(third))
            entries[f"{block}.attn.in_proj_{kind}"] = concatenate(thirds)
    return Tensors(entries)


_ORIGINAL_TEXT = {"clip": _clip, "open_clip": _open_clip}
"""Conversions of the text encoder, by the naming of a family's single files."""


def _misplaced(name: str) -> CheckpointError:
    return CheckpointError(f"the tensor {name} has no place in a single file of Stable Diffusion 1 or 2")


def _check_whole(checkpoint: Checkpoint) -> None:
    for name in (*checkpoint.family.networks, *(text.tokenizer for text in checkpoint.family.text)):
        if name not in checkpoint.components and name not in checkpoint.tokenizers:
            raise checkpoint.lacking(name)
    if "vae" in checkpoint.components and "encoder.conv_in.weight" not in checkpoint.vae.tensors:
        raise CheckpointError(
            f"{checkpoint.name} has a VAE decoder alone; put keras_cv's image encoder (vae_encoder.h5) "
            "beside it"
        )


_DECIDING = {
    "unet": ("attention_head_dim", "norm_num_groups"),
    "text_encoder": ("hidden_act", "num_attention_heads"),
    "vae": ("scaling_factor", "norm_num_groups"),
    "vqvae": ("scaling_factor", "norm_num_groups"),
}
"""What a reader of a single file takes from the family, as no shape shows it."""

_CONFIGS = {
    "unet": unet_config,
    "text_encoder": text_encoder_config,
    "vae": vae_config,
    "vqvae": vae_config,
}
"""What a reader of a single file makes of the shapes of each network's tensors."""

_IN_ONE_FILE = ({"unet", "text_encoder", "vae"}, {"unet", "class_embedder", "vqvae"})
"""The networks of models that have single files."""


def _check_expressible(checkpoint: Checkpoint) -> Family:
    """The family for which readers of a single file will take it."""
    name, components = checkpoint.name, checkpoint.components
    if components.keys() not in _IN_ONE_FILE:
        raise CheckpointError(
            f"{name} cannot be one file, which is for Stable Diffusion 1 and 2 and class-conditional latent "
            "diffusion; write a diffusers folder"
        )
    shapes = {part: component.tensors.shapes() for part, component in components.items()}
    shown = {part: component.config for part, component in components.items() if part == "class_embedder"}
    family = REGISTRY.of_networks(checkpoint.source, {**shown, "unet": shown_of_unet(shapes["unet"])})
    expected = {part: _CONFIGS[part](family, shapes[part]) for part in components if part in _CONFIGS}
    for part, config in expected.items():
        for key in _DECIDING[part]:
            wanted = config[key]
            found = components[part].config.get(key, wanted)
            if wanted != found:
                raise CheckpointError(
                    f"{name} cannot be one file: its {part} has {key} {found}, and readers of such files "
                    f"take {wanted} for granted; write a diffusers folder"
                )
    for text in family.text:
        if text.layers is not None and expected[text.component]["num_hidden_layers"] > text.layers:
            raise CheckpointError(
                f"{name} cannot be one file: readers of such files leave out its text encoder's layer "
                f"{text.layers + 1}; write a diffusers folder"
            )
    if any(
        not isinstance(tokenizer, ClipTokenizer) or len(tokenizer.vocab) != CLIP_TOKENS
        for tokenizer in checkpoint.tokenizers.values()
    ):
        raise CheckpointError(
            f"{name} cannot be one file: its tokenizer is not CLIP's; write a diffusers folder"
        )
    return family


def _pipeline_class(checkpoint: Checkpoint) -> str:
    family = checkpoint.family
    if family.pipeline is None:
        if family.class_embedder:
            raise CheckpointError(
                f"diffusers has no folder for {checkpoint.name} ({family.name}); write a .safetensors file"
            )
        raise CheckpointError(
            f"{checkpoint.name} is for {' and '.join(family.tasks)} ({family.name}), and sdgen does not "
            "write all that diffusers' folder of such a model holds; keep it as it is"
        )
    return family.pipeline


def _write_schedulers(checkpoint: Checkpoint, folder: Path) -> dict[str, Any]:
    """The schedulers' folders; what model_index.json has of them."""
    configs = {"scheduler": checkpoint.scheduler}
    if checkpoint.low_res_scheduler:
        configs["low_res_scheduler"] = checkpoint.low_res_scheduler
    for name, config in configs.items():
        (folder / name).mkdir()
        _write_json(folder / name / "scheduler_config.json", config)
    return {
        name: ["diffusers", config.get("_class_name", "PNDMScheduler")] for name, config in configs.items()
    }


def _write_tokenizer(checkpoint: Checkpoint, name: str, folder: Path) -> None:
    """A tokenizer's files: copied where the checkpoint is a diffusers folder, else CLIP's own."""
    source, tokenizer = Path(checkpoint.source) / name, checkpoint.tokenizers[name]
    if source.is_dir():
        shutil.copytree(source, folder)
        return
    folder.mkdir()
    vocab, merges = clip_vocabulary()
    _write_json(folder / "vocab.json", vocab)
    lines = ["#version: 0.2", *(f"{first} {second}" for first, second in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    spelling = {number: token for token, number in vocab.items()}
    special = {
        "bos_token": spelling[tokenizer.bos],
        "eos_token": spelling[tokenizer.eos],
        "pad_token": spelling[tokenizer.pad],
        "unk_token": spelling[tokenizer.eos],
    }
    _write_json(
        folder / "tokenizer_config.json",
        {**special, "model_max_length": 77, "tokenizer_class": "CLIPTokenizer"},
    )


def _write_tensors(path: Path, tensors: Tensors, dtype: str | None, metadata: Mapping[str, str]) -> None:
    """One file; the safetensors library wants all of its tensors at once."""
    from safetensors.numpy import save_file

    arrays = {
        name: np.ascontiguousarray(array if dtype is None else _cast(name, array, dtype))
        for name, array in tensors.items()
    }
    save_file(arrays, path, {"format": "pt", **metadata})


def _cast(name: str, array: Array, dtype: str) -> Array:
    import ml_dtypes

    with np.errstate(over="ignore"):
        cast: Array = array.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype, copy=False)
    if cast is not array and (np.isinf(cast) & ~np.isinf(array)).any():
        raise CheckpointError(f"{name} has numbers that are too large for {dtype}; choose another dtype")
    return cast


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_whole(path: Path, dtype: str | None, write: Callable[[Path], None]) -> None:
    """Writes beside the final name and renames, so that what has the name is whole."""
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}", "dtype")
    if path.exists():
        raise InputError(f"{path} exists already; give another name or remove it")
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(part)
        write(part)
        part.rename(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
