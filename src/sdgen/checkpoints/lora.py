"""LoRA files, merged into a checkpoint's weights.

Low-rank adaptation (Hu et al. 2021) adds scale * alpha / rank * up @ down to a weight. Read are the names of
kohya's sd-scripts and LyCORIS (``lora_unet_down_blocks_0_...lora_down.weight``, over diffusers' or LDM's
module names), of ComfyUI (``diffusion_model.input_blocks.1...``), of diffusers with PEFT
(``unet.down_blocks.0...to_q.lora_A.weight``), of PEFT by itself (``base_model.model.down_blocks.0...``) and
of older diffusers (``...attn1.processor.to_q_lora.down.weight``), in the kinds of ``lora_changes``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdgen.checkpoints.checkpoint import Checkpoint
from sdgen.checkpoints.lora_changes import SCALARS
from sdgen.checkpoints.lora_keys import PEFT, Change, adapted, find_changes
from sdgen.checkpoints.tensors import Array, LazyTensor, Shape, Tensors
from sdgen.checkpoints.weight_file import read_texts, read_weights
from sdgen.errors import CheckpointError, ModelUnavailable
from sdgen.files.json_files import read_json


def apply_loras(
    checkpoint: Checkpoint, loras: Sequence[tuple[str | Path, float | tuple[float, float]]]
) -> Checkpoint:
    """The checkpoint with LoRAs merged into its networks, one after the other.

    A changed weight is computed when it is read, in float32, and stays float32: rounding the sum back to a
    stored float16 would lose part of a small change before the network chooses its own precision.

    Args:
        checkpoint: any checkpoint.
        loras: files (``.safetensors`` or pickles) with their scales, one number or one for text encoders and
            one for the rest; 0 leaves the weights as they are. PEFT's own files have their alpha in the
            ``adapter_config.json`` beside them.

    Returns:
        The changed checkpoint; ``warnings`` names keys that fit nothing.

    Raises:
        ModelUnavailable: a file is not there.
        CheckpointError: a file is damaged, of an unsupported kind (DoRA, LoKr), fits nothing, or is
            for a model of another shape.
    """
    for path, scale in loras:
        scales = scale if isinstance(scale, tuple) else (scale, scale)
        checkpoint = _apply(checkpoint, Path(path), *scales)
    return checkpoint


def scale_text(scale: float | tuple[float, float]) -> str:
    """A LoRA's scale, or its two, as text."""
    text_encoder, unet = scale if isinstance(scale, tuple) else (scale, scale)
    return f"{unet:g}" if text_encoder == unet else f"{text_encoder:g} and {unet:g}"


def _apply(checkpoint: Checkpoint, path: Path, text_scale: float, scale: float) -> Checkpoint:
    if not os.path.exists(path):
        raise ModelUnavailable(f"there is no LoRA at {path}")
    stored = read_weights(path)
    encoders = {text.component for text in checkpoint.family.text}
    components = adapted(checkpoint)
    changes, unknown = find_changes(path, stored, components, checkpoint.family)
    if not changes:
        raise CheckpointError(
            f"{path} changes nothing in {checkpoint.name} (its first key is "
            f"{next(iter(stored), 'absent')!r}); take a LoRA made for this kind of model"
        )
    settings = _PeftSettings(path, stored, components)
    merged: dict[str, dict[str, LazyTensor]] = {part: {} for part in components}
    for change in changes:
        tensor = components[change.part].tensors.lazy(change.tensor)
        _check_shape(path, change, tensor.shape)
        if asked := text_scale if change.part in encoders else scale:
            factor = asked * _alpha_over_rank(settings, change, tensor.shape)
            merged[change.part][change.tensor] = _merged(path, change, tensor, factor)
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
        checkpoint.with_components(changed),
        changes=(*checkpoint.changes, f"lora scales {text_scale:g} and {scale:g}"),
        warnings=warnings,
        extra_files=tuple(dict.fromkeys([*checkpoint.extra_files, path, settings.file])),
    )


class _PeftSettings:
    """What PEFT says of a file beside its tensors; nothing of other programs' files.

    Attributes:
        file: where it is said. diffusers has it in the weights' header, PEFT itself in a file beside them.
    """

    def __init__(self, path: Path, stored: Tensors, parts: Iterable[str]) -> None:
        self.file, self._parts = path, tuple(parts)
        self._settings = self._read(path, stored)
        self._alphas = {part: self._patterns(part) for part in self._parts}

    def _read(self, path: Path, stored: Tensors) -> Mapping[str, Any]:
        """Settings by ``<component>.<name>``."""
        metadata = read_texts(path)
        beside = path.with_name("adapter_config.json")
        if "lora_adapter_metadata" not in metadata:
            if not any(key.startswith(PEFT) for key in stored) or not beside.exists():
                return {}
            self.file, settings = beside, read_json(beside)
            return {f"{part}.{key}": settings[key] for part in self._parts for key in settings}
        try:
            return dict(json.loads(metadata["lora_adapter_metadata"]))
        except (ValueError, TypeError, RecursionError):
            raise CheckpointError(
                f"{path} has unreadable lora_adapter_metadata; fetch the file again"
            ) from None

    def _patterns(self, part: str) -> dict[str, tuple[int, Any]]:
        """The ends of modules' names with an alpha of their own, and which comes first."""
        patterns: dict[str, tuple[int, Any]] = {}
        for key, value in self._mapping(part, "alpha_pattern").items():
            patterns.setdefault(key.removeprefix("text_model."), (len(patterns), value))
        return patterns

    def _mapping(self, part: str, name: str) -> Mapping[str, Any]:
        value = self._settings.get(f"{part}.{name}") or {}
        if not isinstance(value, dict):
            raise self._unreadable()
        return value

    def alpha_over_rank(self, change: Change, rank: int) -> float:
        """The factor of a change whose file has no alpha beside its factors."""
        words = change.module.split(".")
        ends = (".".join(words[start:]) for start in range(len(words)))
        # Of several patterns that fit, PEFT takes the first (``get_pattern_key``).
        fitting = [self._alphas[change.part][end] for end in ends if end in self._alphas[change.part]]
        alpha = self._settings.get(f"{change.part}.lora_alpha", rank)
        if fitting:
            alpha = min(fitting, key=lambda pattern: pattern[0])[1]
        try:
            by_root = self._settings.get(f"{change.part}.use_rslora")
            return float(alpha) / (math.sqrt(rank) if by_root else rank)
        except (ValueError, TypeError, OverflowError):
            raise self._unreadable() from None

    def _unreadable(self) -> CheckpointError:
        return CheckpointError(f"{self.file} has an unreadable lora_alpha; fetch the file again")


def _alpha_over_rank(settings: _PeftSettings, change: Change, shape: Shape) -> float:
    """The factor of a change: 1 without an alpha, as in diffusers, and where alpha means something else."""
    if change.kind.rank is None:
        return 1.0
    rank = change.kind.rank(change.parts, shape)
    if "alpha" in change.parts:
        return float(change.parts["alpha"].read().reshape(-1)[0]) / rank
    return settings.alpha_over_rank(change, rank)


def _check_shape(path: Path, change: Change, wanted: Shape) -> None:
    """Compares the change's (out, in * kernel); a linear layer may be given as a 1x1 convolution."""
    vectors = not change.kind.rank and "oft_blocks" not in change.parts
    for role, tensor in change.parts.items():
        single = math.prod(tensor.shape) == 1
        if 0 in tensor.shape or not (single if role in SCALARS else vectors or len(tensor.shape) > 1):
            raise CheckpointError(
                f"{path} holds {role} of shape {tensor.shape} for {change.tensor}; fetch it again"
            )
    found = change.kind.shape(change.parts, wanted)
    if found is None:
        raise CheckpointError(
            f"{path}: the parts for {change.part}.{change.tensor} do not fit its shape, {wanted}; the file "
            "is damaged or for another kind of model"
        )
    if found[:1] != wanted[:1] or math.prod(found) != math.prod(wanted):
        raise CheckpointError(
            f"{path} changes {change.part}.{change.tensor} by a tensor of shape {found}, and this model's is "
            f"{wanted}; the LoRA is for another kind of model (SD 1, SD 2 and SDXL do not mix)"
        )


def _merged(path: Path, change: Change, tensor: LazyTensor, scale: float) -> LazyTensor:
    def read() -> Array:
        merged: Array = tensor.read().astype(np.float32)
        try:
            with np.errstate(all="ignore"):
                parts = {role: part.read().astype(np.float32) for role, part in change.parts.items()}
                delta = change.kind.change(merged, parts, scale).reshape(tensor.shape)
        except (ValueError, np.linalg.LinAlgError) as error:
            raise CheckpointError(
                f"{path}: the parts for {change.tensor} do not fit together ({error})"
            ) from None
        if not np.isfinite(delta).all():
            raise CheckpointError(
                f"{path} changes {change.tensor} by numbers that are not finite; take another LoRA"
            )
        merged += delta
        return merged

    return LazyTensor(tensor.shape, np.dtype(np.float32), read)
