"""LoRA files, merged into a checkpoint's weights.

Low-rank adaptation (Hu et al. 2021) adds scale * alpha / rank * up @ down to a weight. Read are the names of
kohya's sd-scripts and LyCORIS (``lora_unet_down_blocks_0_...lora_down.weight``, over diffusers' or LDM's
module names), of ComfyUI (``diffusion_model.input_blocks.1...``), of diffusers with PEFT
(``unet.down_blocks.0...to_q.lora_A.weight``), of PEFT by itself (``base_model.model.down_blocks.0...``) and
of older diffusers (``...attn1.processor.to_q_lora.down.weight``), for linear layers and convolutions, in
plain form, in LoCon's Tucker form (``lora_mid``) and as LoHa (Hadamard product of two low-rank products;
Hyeon-Woo et al. 2021).
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdgen.checkpoints import names
from sdgen.checkpoints.checkpoint import Checkpoint, Component
from sdgen.checkpoints.json_files import read_json
from sdgen.checkpoints.safetensors_file import read_metadata, read_safetensors
from sdgen.checkpoints.tensors import Array, LazyTensor, Shape, Tensors
from sdgen.errors import CheckpointError, ModelUnavailable

Parts = dict[str, LazyTensor]
"""The tensors that change one weight, by role: down, up, mid, alpha, w1_a, ..."""


def apply_loras(
    checkpoint: Checkpoint, loras: Sequence[tuple[str | Path, float | tuple[float, float]]]
) -> Checkpoint:
    """The checkpoint with LoRAs merged into its UNet and text encoder, one after the other.

    A changed weight is computed when it is read, in float32, and stays float32: rounding the sum back to a
    stored float16 would lose part of a small change before the network chooses its own precision.

    Args:
        checkpoint: any checkpoint.
        loras: files (``.safetensors``) with their scales, one number or one for the text encoder and one
            for the UNet; 0 leaves the weights as they are. PEFT's own files have their alpha in the
            ``adapter_config.json`` beside them.

    Returns:
        The changed checkpoint; ``warnings`` names keys that fit nothing.

    Raises:
        ModelUnavailable: a file is not there.
        CheckpointError: a file is damaged, of an unsupported kind (DoRA, LoKr, pickle), fits nothing, or is
            for a model of another shape.
    """
    for path, scale in loras:
        scales = scale if isinstance(scale, tuple) else (scale, scale)
        checkpoint = _apply(checkpoint, Path(path), dict(zip(("text_encoder", "unet"), scales, strict=True)))
    return checkpoint


def scale_text(scale: float | tuple[float, float]) -> str:
    """A LoRA's scale, or its two, as text."""
    text_encoder, unet = scale if isinstance(scale, tuple) else (scale, scale)
    return f"{unet:g}" if text_encoder == unet else f"{text_encoder:g} and {unet:g}"


def _apply(checkpoint: Checkpoint, path: Path, scales: Mapping[str, float]) -> Checkpoint:
    if not path.exists():
        raise ModelUnavailable(f"there is no LoRA at {path}")
    stored = read_safetensors(path)
    components = {"unet": checkpoint.unet, "text_encoder": checkpoint.text_encoder}
    changes, unknown = _collect(path, stored, components)
    if not changes:
        raise CheckpointError(
            f"{path} changes nothing in {checkpoint.name} (its first key is "
            f"{next(iter(stored), 'absent')!r}); take a LoRA made for this kind of model"
        )
    settings_file, settings = _peft_settings(path, stored)
    merged: dict[str, dict[str, LazyTensor]] = {"unet": {}, "text_encoder": {}}
    for (part, module), parts in changes.items():
        name = f"{module}.weight"
        weight = components[part].tensors.lazy(name)
        _check_shape(path, part, name, weight.shape, parts)
        factor = scales[part] * _alpha_over_rank(settings_file, settings, part, module, parts)
        merged[part][name] = _merged(path, name, weight, parts, factor)
    warnings = checkpoint.warnings
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        warnings += (
            f"{path.name}: {len(unknown)} of its {len(stored)} keys fit nothing in {checkpoint.name} and are "
            f"left out: {', '.join(unknown[:3])}{more}",
        )
    changed = {
        part: dataclasses.replace(component, tensors=component.tensors.replaced(merged[part]))
        for part, component in components.items()
    }
    return dataclasses.replace(
        checkpoint,
        unet=changed["unet"],
        text_encoder=changed["text_encoder"],
        changes=(*checkpoint.changes, f"lora scales {scales['text_encoder']:g} and {scales['unet']:g}"),
        warnings=warnings,
        extra_files=tuple(dict.fromkeys([*checkpoint.extra_files, path, settings_file])),
    )


_KEY = re.compile(
    r"""(?P<module>.+?)(?:
        \.lora_(?P<a>down|up|mid)\.weight               # kohya, LyCORIS
      | \.lora_(?P<b>A|B)(?:\.\w+)?\.weight             # PEFT, with or without the adapter's name
      | (?:\.lora_linear_layer|\.lora|_lora)\.(?P<c>down|up)\.weight   # diffusers before PEFT
      | \.hada_(?P<d>w1_a|w1_b|w2_a|w2_b|t1|t2)         # LyCORIS LoHa
      | (?:_lora)?\.(?P<e>alpha)
      | \.(?P<f>dora_scale|lora_magnitude_vector|lokr_)\S*
    )""",
    re.VERBOSE,
)

_ROLES = {"A": "down", "B": "up"}

_KINDS: Sequence[tuple[set[str], set[str]]] = (
    ({"down", "up"}, {"mid", "alpha"}),
    ({"w1_a", "w1_b", "w2_a", "w2_b"}, {"t1", "t2", "alpha"}),
)
"""LoRA and LoCon, and LoHa: the roles that make a change, and those that may go with them."""

_REFUSED = {"dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", "lokr_": "LoKr"}


def _collect(
    path: Path, stored: Tensors, components: Mapping[str, Component]
) -> tuple[dict[tuple[str, str], Parts], list[str]]:
    """What changes which weight: (component, module) -> parts; and the keys that fit nothing."""
    finder = _Finder(components)
    keys: dict[tuple[str, str], dict[str, str]] = {}
    unknown = []
    for key in stored:
        match = _KEY.fullmatch(key)
        role = next(filter(None, match.groups()[1:])) if match else None
        if role in _REFUSED:
            raise CheckpointError(
                f"{path} is a {_REFUSED[role]} ({key}), which is not supported; take a LoRA, LoCon or LoHa"
            )
        place = finder.find(match["module"]) if match else None
        roles = {} if place is None else keys.setdefault(place, {})
        if place is None or role is None or roles.setdefault(_ROLES.get(role, role), key) != key:
            unknown.append(key)  # of two spellings of one thing the first counts
    changes: dict[tuple[str, str], Parts] = {}
    for place, roles in keys.items():
        used = next((needed | more for needed, more in _KINDS if needed <= roles.keys()), set())
        if used:
            changes[place] = {role: stored.lazy(key) for role, key in roles.items() if role in used}
        unknown += [key for role, key in roles.items() if role not in used]
    return changes, unknown


_PREFIXES = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "diffusion_model.": "unet",  # ComfyUI, over LDM's names with their dots
}

_PEFT = "base_model.model."


class _Finder:
    """Finds the module of a LoRA key among the modules of the networks."""

    def __init__(self, components: Mapping[str, Component]) -> None:
        self._modules = {
            part: {
                name.removesuffix(".weight")
                for name, shape in component.tensors.shapes().items()
                if name.endswith(".weight") and len(shape) in (2, 4)
            }
            for part, component in components.items()
        }
        # kohya's names have underscores for dots; as module names have both, only a table can undo it.
        self._flat = {
            part: {module.replace(".", "_"): module for module in modules}
            for part, modules in self._modules.items()
        }
        layout = names.unet_layout(components["unet"].tensors)
        for ldm, module in names.ldm_to_diffusers(names.unet_modules(layout)).items():
            self._flat["unet"].setdefault(ldm.replace(".", "_"), module)

    def find(self, name: str) -> tuple[str, str] | None:
        """The component and diffusers module that a key's module name means, or None."""
        for prefix, part in _PREFIXES.items():
            if name.startswith(prefix):
                flat = name.removeprefix(prefix).removeprefix("text_model_").replace(".", "_")
                module = self._flat[part].get(flat)
                return (part, module) if module in self._modules[part] else None
        name = name.removeprefix(_PEFT)
        if name.startswith(("text_encoder.", "text_model.", "encoder.")):
            part, module = "text_encoder", name.removeprefix("text_encoder.").removeprefix("text_model.")
            module = re.sub(r"self_attn\.to_(q|k|v|out)$", r"self_attn.\1_proj", module)
        else:
            part, module = "unet", name.removeprefix("unet.").replace(".processor.", ".")
            module = re.sub(r"\.to_out$", ".to_out.0", module)
        return (part, module) if module in self._modules[part] else None


def _peft_settings(path: Path, stored: Tensors) -> tuple[Path, Mapping[str, Any]]:
    """PEFT's settings by ``<component>.<name>``, none in other programs' files, and the file they are from.

    diffusers has them in the weights' header, PEFT itself in a file beside the weights.
    """
    metadata = read_metadata(path)
    beside = path.with_name("adapter_config.json")
    if "lora_adapter_metadata" not in metadata:
        if not any(key.startswith(_PEFT) for key in stored) or not beside.exists():
            return path, {}
        settings = read_json(beside)
        return beside, {
            f"{part}.{key}": settings[key] for part in ("unet", "text_encoder") for key in settings
        }
    try:
        return path, dict(json.loads(metadata["lora_adapter_metadata"]))
    except (ValueError, TypeError, RecursionError):
        raise CheckpointError(f"{path} has unreadable lora_adapter_metadata; fetch the file again") from None


def _alpha_over_rank(
    settings_file: Path, settings: Mapping[str, Any], part: str, module: str, parts: Parts
) -> float:
    """The factor of a LoRA: 1 without an alpha, as in diffusers."""
    rank = parts["down" if "down" in parts else "w1_b"].shape[0]
    if "alpha" in parts:
        return float(parts["alpha"].read().reshape(-1)[0]) / rank
    try:
        alpha = settings.get(f"{part}.lora_alpha", rank)
        for key, value in (settings.get(f"{part}.alpha_pattern") or {}).items():
            if f".{module}".endswith(f".{key.removeprefix('text_model.')}"):
                alpha = value
        return float(alpha) / (math.sqrt(rank) if settings.get(f"{part}.use_rslora") else rank)
    except (ValueError, TypeError, AttributeError):
        raise CheckpointError(f"{settings_file} has an unreadable lora_alpha; fetch the file again") from None


def _check_shape(path: Path, part: str, name: str, wanted: Shape, parts: Parts) -> None:
    """Compares the change's (out, in * kernel); a linear layer may be given as a 1x1 convolution."""
    for role, tensor in parts.items():
        if 0 in tensor.shape or (len(tensor.shape) < 2 if role != "alpha" else math.prod(tensor.shape) != 1):
            raise CheckpointError(f"{path} holds {role} of shape {tensor.shape} for {name}; fetch it again")
    up, down = (parts["up"], parts["down"]) if "up" in parts else (parts["w1_a"], parts["w1_b"])
    kernel = next((parts[role].shape[2:] for role in ("mid", "t1") if role in parts), down.shape[2:])
    # In LoHa's Tucker form both factors have the rank first.
    found = (up.shape[1 if "t1" in parts else 0], *down.shape[1:2], *kernel)
    if found[0] != wanted[0] or math.prod(found) != math.prod(wanted):
        raise CheckpointError(
            f"{path} changes {part}.{name} by a tensor of shape {found}, and this model's is {wanted}; "
            "the LoRA is for another kind of model (SD 1, SD 2 and SDXL do not mix)"
        )


def _merged(path: Path, name: str, weight: LazyTensor, parts: Parts, factor: float) -> LazyTensor:
    def read() -> Array:
        try:
            change = _delta({role: tensor.read().astype(np.float32) for role, tensor in parts.items()})
        except ValueError as error:
            raise CheckpointError(f"{path}: the parts for {name} do not fit together ({error})") from None
        with np.errstate(over="ignore", invalid="ignore"):
            change *= np.float32(factor)
        if not np.isfinite(change).all():
            raise CheckpointError(f"{path} changes {name} by numbers that are not finite; take another LoRA")
        merged: Array = weight.read().astype(np.float32)
        merged += change.reshape(weight.shape)
        return merged

    return LazyTensor(weight.shape, np.dtype(np.float32), read)


def _delta(parts: Mapping[str, Array]) -> Array:
    """The change of a weight before scaling; (out, in, ...)."""
    if "up" in parts and "mid" in parts:
        up, down = _matrix(parts["up"]), _matrix(parts["down"])
        return np.asarray(np.einsum("nmkl,in,mj->ijkl", parts["mid"], up, down, optimize=True))
    if "up" in parts:
        return np.asarray(_matrix(parts["up"]) @ _matrix(parts["down"]))
    halves = []
    for half in ("1", "2"):
        a, b = parts[f"w{half}_a"], parts[f"w{half}_b"]
        core = parts.get(f"t{half}")
        halves.append(a @ b if core is None else np.einsum("ijkl,jr,ip->prkl", core, b, a, optimize=True))
    return np.asarray(halves[0] * halves[1])


def _matrix(array: Array) -> Array:
    return array.reshape(array.shape[0], -1)
