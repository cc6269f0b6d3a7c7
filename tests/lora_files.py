"""LoRA files for the bundled mini model, as different programs write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

SCALE = 0.7
RANK = 4

_BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"

# Module -> (out, in, kernel) of its weight.
UNET = {
    f"{_BLOCK}.attn1.to_q": (96, 96),
    f"{_BLOCK}.attn1.to_out.0": (96, 96),
    f"{_BLOCK}.attn2.to_v": (96, 256),
}
UNET_MORE = {
    f"{_BLOCK}.ff.net.0.proj": (768, 96),
    "down_blocks.0.attentions.0.proj_in": (96, 96),
    "down_blocks.0.resnets.0.conv1": (96, 96, 3, 3),
    "down_blocks.0.downsamplers.0.conv": (96, 96, 3, 3),
}
TEXT_ENCODER = {
    "encoder.layers.0.self_attn.q_proj": (256, 256),
    "encoder.layers.1.self_attn.out_proj": (256, 256),
}
TEXT_ENCODER_MORE = {"encoder.layers.1.mlp.fc1": (1024, 256)}


def factors(module: str, shape: tuple[int, ...], rank: int = RANK) -> tuple[np.ndarray, np.ndarray]:
    """Down and up of a module, fixed by its name: (rank, in, ...) and (out, rank, ...)."""
    rng = np.random.Generator(np.random.Philox(key=sum(map(ord, module))))
    down = rng.standard_normal((rank, *shape[1:]), np.float32) * np.float32(0.1)
    up = rng.standard_normal((shape[0], rank, *(1 for _ in shape[2:])), np.float32) * np.float32(0.1)
    return down, up


def kohya(path: Path) -> Path:
    """As kohya's sd-scripts do: underscores, alpha beside the factors."""
    tensors = {}
    for prefix, modules in (
        ("lora_unet_", UNET | UNET_MORE),
        ("lora_te_text_model_", TEXT_ENCODER | TEXT_ENCODER_MORE),
    ):
        for module, shape in modules.items():
            down, up = factors(module, shape)
            name = prefix + module.replace(".", "_")
            tensors[f"{name}.lora_down.weight"] = down
            tensors[f"{name}.lora_up.weight"] = up
            tensors[f"{name}.alpha"] = np.array(2, np.float32)
    save_file(tensors, path)
    return path


def peft(path: Path) -> Path:
    """As diffusers does with PEFT: lora_A and lora_B, alpha in the metadata."""
    tensors = {}
    for prefix, modules in (
        ("unet.", UNET | UNET_MORE),
        ("text_encoder.", TEXT_ENCODER | TEXT_ENCODER_MORE),
    ):
        for module, shape in modules.items():
            down, up = factors(module, shape)
            tensors[f"{prefix}{module}.lora_A.weight"] = down
            tensors[f"{prefix}{module}.lora_B.weight"] = up
    adapter = {"lora_alpha": 2, "r": RANK}
    targets = {"unet": UNET | UNET_MORE, "text_encoder": TEXT_ENCODER | TEXT_ENCODER_MORE}
    metadata = {
        f"{part}.{key}": value
        for part, modules in targets.items()
        for key, value in (adapter | {"target_modules": sorted(modules)}).items()
    }
    save_file(tensors, path, {"lora_adapter_metadata": json.dumps(metadata)})
    return path


def attention_processors(path: Path) -> Path:
    """As diffusers did before PEFT: attention only, named after its processors, no alpha."""
    tensors = {}
    for module, shape in UNET.items():
        block, _, layer = module.removesuffix(".0").rpartition(".")
        down, up = factors(module, shape)
        tensors[f"unet.{block}.processor.{layer}_lora.down.weight"] = down
        tensors[f"unet.{block}.processor.{layer}_lora.up.weight"] = up
    for module, shape in TEXT_ENCODER.items():
        name = "text_encoder.text_model." + module.replace("q_proj", "to_q_lora").replace(
            "out_proj", "to_out_lora"
        )
        down, up = factors(module, shape)
        tensors[f"{name}.down.weight"] = down
        tensors[f"{name}.up.weight"] = up
    save_file(tensors, path)
    return path


def peft_adapter(folder: Path, modules: Mapping[str, tuple[int, ...]], prefix: str = "") -> Path:
    """As PEFT itself does, a folder a network: the settings, with alpha, are in a file beside the weights.

    ``prefix`` is what comes before the names of modules: "text_model." in transformers before version 5.
    """
    folder.mkdir(exist_ok=True)
    tensors = {}
    for module, shape in modules.items():
        down, up = factors(module, shape)
        tensors[f"base_model.model.{prefix}{module}.lora_A.weight"] = down
        tensors[f"base_model.model.{prefix}{module}.lora_B.weight"] = up
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": 2, "r": RANK}))
    return folder / "adapter_model.safetensors"


WRITERS = {"kohya": kohya, "peft": peft, "attention_processors": attention_processors}


NORM = "down_blocks.0.resnets.0.norm1"
LINEAR, CONVOLUTION = f"{_BLOCK}.attn1.to_q", "down_blocks.0.resnets.0.conv1"


def _numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Small random numbers, fixed by a name."""
    rng = np.random.Generator(np.random.Philox(key=sum(map(ord, name))))
    return rng.standard_normal(shape, np.float32) * np.float32(0.1)


def _glora(module: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    out, inputs, *kernel = shape
    one = tuple(1 for _ in kernel)
    shapes = {
        "a1": (inputs, 4, *one),
        "a2": (4, inputs, *one),
        "b1": (out, 4, *one),
        "b2": (4, inputs, *kernel),
    }
    parts = {f"{role}.weight": _numbers(module + role, shapes[role]) for role in shapes}
    return parts | {"alpha": np.array(2, np.float32)}


def _oft(module: str, shape: tuple[int, ...], blocks: tuple[int, ...], alpha: float, rescale: bool) -> dict:
    parts = {"oft_blocks": _numbers(module, blocks), "alpha": np.array(alpha, np.float32)}
    if rescale:
        parts["rescale"] = 1 + _numbers(module + "rescale", (shape[0], *(1 for _ in shape[1:])))
    return parts


def _ia3(module: str, shape: tuple[int, ...], on_input: bool) -> dict[str, np.ndarray]:
    size = shape[1 if on_input else 0]
    wide = (1, size, 1, 1) if len(shape) == 4 else (size,)
    return {"weight": _numbers(module, wide), "on_input": np.array(int(on_input), np.int64)}


def _full(module: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    parts = {"diff": _numbers(module, shape)}
    return parts | ({"diff_b": _numbers(module + "b", shape[:1])} if len(shape) == 4 else {})


_SHAPES = {LINEAR: (96, 96), CONVOLUTION: (96, 96, 3, 3)}


def lycoris_parts() -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """What LyCORIS stores for its kinds beside LoRA and LoHa: kind -> module -> role -> tensor."""
    kinds = {
        "glora": _glora,
        "oft": lambda module, shape: _oft(module, shape, (12, 8, 8), 0.0, False),
        "oft, bounded": lambda module, shape: _oft(module, shape, (24, 4, 4), 0.01, False),
        "oft, rescaled": lambda module, shape: _oft(module, shape, (12, 8, 8), 0.0, True),
        "boft": lambda module, shape: _oft(module, shape, (5, 16, 6, 6), 0.0, False),
        "boft, rescaled": lambda module, shape: _oft(module, shape, (5, 16, 6, 6), 0.01, True),
        "ia3": lambda module, shape: _ia3(module, shape, False),
        "ia3, on input": lambda module, shape: _ia3(module, shape, True),
        "full": _full,
    }
    parts = {
        kind: {name: make(name, shape) for name, shape in _SHAPES.items()} for kind, make in kinds.items()
    }
    parts["norm"] = {NORM: {"w_norm": _numbers(NORM, (96,)), "b_norm": _numbers(NORM + "b", (96,))}}
    return parts


def lycoris(path: Path, kind: str) -> Path:
    """As LyCORIS does, for some modules of the UNet."""
    tensors = {
        f"lora_unet_{module.replace('.', '_')}.{role}": tensor
        for module, parts in lycoris_parts()[kind].items()
        for role, tensor in parts.items()
    }
    save_file(tensors, path)
    return path
