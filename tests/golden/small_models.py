"""Whole models at small widths with weights made from names, as diffusers' folders.

sdgen and diffusers both load what ``write_model`` writes, so that only pictures need to be stored. Weights
are those of ``small_networks.weight``; the text encoder is as wide as the UNet's context, the tokenizer is
that of the bundled model, and the VAE is 8 times smaller along each side, as Stable Diffusion's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from golden import small_networks
from safetensors.numpy import save_file

from sdgen.networks.config import TextEncoderConfig, UNetConfig, VAEConfig
from sdgen.pipeline.weight_shapes import decoder_shapes, encoder_shapes, text_encoder_shapes, unet_shapes

MINI = Path(__file__).parents[2] / "src/sdgen/models/data/sd-mini"

MODELS: Mapping[str, tuple[int, str]] = {
    "small-epsilon": (4, "epsilon"),
    "small-v": (4, "v_prediction"),
    "small-inpainting-epsilon": (9, "epsilon"),
    "small-inpainting-v": (9, "v_prediction"),
}
"""What the UNet takes, in channels, and what it puts out."""

TEXT = small_networks.TEXT_ENCODERS["text-sd2"] | {
    "vocab_size": 8192,
    "max_position_embeddings": 77,
    "bos_token_id": 8190,
    "eos_token_id": 8191,
    "pad_token_id": 8191,
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
}
_UNET = small_networks.UNETS["unet-sd2"] | {"cross_attention_dim": TEXT["hidden_size"], "sample_size": 6}
_VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [16, 16, 32, 32],
    "layers_per_block": 1,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "norm_num_groups": 8,
    "scaling_factor": 0.5,
}
_SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def write_model(name: str, folder: Path) -> Path:
    """Write a model of ``MODELS`` into a new folder."""
    channels, prediction = MODELS[name]
    unet = _UNET | {"in_channels": channels}
    vae = VAEConfig.from_config(_VAE)
    write = writer(folder)
    write("unet", "UNet2DConditionModel", unet, unet_shapes(UNetConfig.from_config(unet)))
    write("vae", "AutoencoderKL", _VAE, encoder_shapes(vae) | decoder_shapes(vae))
    write("text_encoder", "", TEXT, text_encoder_shapes(TextEncoderConfig.from_config(TEXT)))
    shutil.copytree(MINI / "tokenizer", folder / "tokenizer")
    write_json(folder / "scheduler/scheduler_config.json", _SCHEDULER | {"prediction_type": prediction})
    index = json.loads((MINI / "model_index.json").read_text())
    if channels == 9:
        index["_class_name"] = "StableDiffusionInpaintPipeline"
        # diffusers asks inpainting models for the version that wrote them.
        index["_diffusers_version"] = "0.42.1"
    write_json(folder / "model_index.json", index)
    return folder


def writer(folder: Path) -> Callable[[str, str, dict[str, Any], Mapping[str, tuple[int, ...]]], None]:
    def write(
        component: str, class_name: str, config: dict[str, Any], shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        named = {"_class_name": class_name} if class_name else {}
        write_json(folder / component / "config.json", named | config)
        # transformers before 5 knows a text encoder's names with this prefix alone.
        prefix, file = ("", "diffusion_pytorch_model") if class_name else ("text_model.", "model")
        tensors = {prefix + name: small_networks.weight(name, shape) for name, shape in shapes.items()}
        for tensor in tensors.values():
            assert np.isfinite(tensor).all()
        save_file(tensors, folder / component / f"{file}.safetensors", {"format": "pt"})

    return write


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values, indent=1))
