"""Models that enlarge pictures, at small widths, with weights made from names, in diffusers' folders.

What diffusers draws with them is in upscaling.npz (make_upscaling.py).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from golden import small_models, small_networks
from golden.inputs import picture

_VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [16, 32, 32],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
}
X4_VAE = _VAE | {"latent_channels": 4, "scaling_factor": 0.08333}
X4_UNET = small_networks.UNETS["unet-x4-upscaler"] | {
    "cross_attention_dim": small_models.TEXT["hidden_size"],
    "num_class_embeds": 1000,
    "sample_size": 64,
}
X4_SCHEDULER: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "beta_end": 0.02,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.0001,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
LOW_RES_SCHEDULER = X4_SCHEDULER | {"_class_name": "DDPMScheduler", "prediction_type": "epsilon"}

LDM_UNET = small_networks.UNETS_WITHOUT_TEXT["unet-ldm-sr"] | {"sample_size": 64}
LDM_VQ = _VAE | {"latent_channels": 3, "vq_embed_dim": 3, "num_vq_embeddings": 64}
LDM_SCHEDULER: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "beta_end": 0.0155,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.0015,
    "clip_sample": False,
    "num_train_timesteps": 1000,
}

PROMPT = "a red fox in the snow"
X4_CASES: Mapping[str, dict[str, Any]] = {
    "x4 as by default": {"seed": 7, "steps": 6, "guidance": 9.0, "noise_level": 20},
    "x4 without noise or guidance": {"seed": 8, "steps": 5, "guidance": 1.0, "noise_level": 0},
    "x4 with much noise": {"seed": 9, "steps": 5, "guidance": 4.0, "noise_level": 350, "eta": 1.0},
    "x4 by euler": {"seed": 10, "steps": 6, "guidance": 3.0, "noise_level": 100, "sampler": "euler"},
}
LDM_CASES: Mapping[str, dict[str, Any]] = {
    "ldm-sr as by default": {"seed": 7, "steps": 6},
    "ldm-sr with eta": {"seed": 8, "steps": 5, "eta": 1.0},
    "ldm-sr by dpmpp-2m": {"seed": 9, "steps": 5, "sampler": "dpmpp-2m"},
    "ldm-sr by euler, its picture not scaled": {"seed": 10, "steps": 6, "sampler": "euler"},
}
"""Requests for ``small_picture``, of the sampler ddim where none is named."""


def small_picture() -> np.ndarray:
    """What is enlarged, uint8 (32, 64, 3): in multiples of 32, as LDM-SR's pipeline wants it."""
    return np.uint8(np.round((picture(32, 64) + 1) * 127.5))


def thinned(pixels: np.ndarray) -> np.ndarray:
    """What is kept of a picture, uint8 (43, 86, 3): pixels from all places of the 4x4 that one becomes."""
    return np.ascontiguousarray(pixels[::3, ::3])


def write_x4(folder: Path) -> Path:
    """A folder laid out as stabilityai/stable-diffusion-x4-upscaler is."""
    from sdgen.networks.config import TextEncoderConfig, UNetConfig, VAEConfig
    from sdgen.pipeline.weight_shapes import decoder_shapes, encoder_shapes, text_encoder_shapes, unet_shapes

    write, vae = small_models.writer(folder), VAEConfig.from_config(X4_VAE)
    text = small_models.TEXT
    write("unet", "UNet2DConditionModel", X4_UNET, unet_shapes(UNetConfig.from_config(X4_UNET)))
    write("vae", "AutoencoderKL", X4_VAE, encoder_shapes(vae) | decoder_shapes(vae))
    write("text_encoder", "", text, text_encoder_shapes(TextEncoderConfig.from_config(text)))
    shutil.copytree(small_models.MINI / "tokenizer", folder / "tokenizer")
    schedulers = {"scheduler": X4_SCHEDULER, "low_res_scheduler": LOW_RES_SCHEDULER}
    index = {
        "_class_name": "StableDiffusionUpscalePipeline",
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    return _finished(folder, index, schedulers)


def write_ldm_sr(folder: Path) -> Path:
    """A folder laid out as CompVis/ldm-super-resolution-4x-openimages is."""
    from sdgen.networks.config import UNetConfig, VAEConfig
    from sdgen.pipeline.weight_shapes import decoder_shapes, unet_shapes

    write = small_models.writer(folder)
    write("unet", "UNet2DModel", LDM_UNET, unet_shapes(UNetConfig.from_config(LDM_UNET)))
    vq = LDM_VQ | {"_class_name": "VQModel"}
    write("vqvae", "VQModel", LDM_VQ, decoder_shapes(VAEConfig.from_config(vq)))
    index = {
        "_class_name": "LDMSuperResolutionPipeline",
        "unet": ["diffusers", "UNet2DModel"],
        "vqvae": ["diffusers", "VQModel"],
    }
    return _finished(folder, index, {"scheduler": LDM_SCHEDULER})


def _finished(folder: Path, index: dict[str, Any], schedulers: Mapping[str, dict[str, Any]]) -> Path:
    for name, config in schedulers.items():
        index[name] = ["diffusers", config["_class_name"]]
        small_models.write_json(folder / name / "scheduler_config.json", config)
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
