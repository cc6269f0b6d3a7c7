"""A model that enlarges pictures in their latents, at small widths, with weights made from names.

What diffusers draws with it is in latent_upscaling.npz (make_latent_upscaling.py).
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

NOISE_WIDTH = 128
"""Numbers that stand before the pooled text vector."""

UNET = small_networks.K_UNETS["unet-x2-upscaler"] | {
    "cross_attention_dim": small_models.TEXT["hidden_size"],
    "time_cond_proj_dim": NOISE_WIDTH + small_models.TEXT["hidden_size"],
    "sample_size": None,
}
VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [16, 16, 32, 32],
    "layers_per_block": 1,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "norm_num_groups": 8,
    "scaling_factor": 0.18215,
}
SCHEDULER: dict[str, Any] = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "prediction_type": "original_sample",
    "trained_betas": None,
}
CASES: Mapping[str, dict[str, Any]] = {
    "as by default": {"seed": 7, "prompt": "a red fox in the snow", "steps": 8, "guidance": 9.0},
    "without guidance": {"seed": 8, "prompt": "a red fox in the snow", "steps": 5, "guidance": 1.0},
    "without a prompt": {"seed": 9, "prompt": "", "steps": 5, "guidance": 1.0},
    "against a prompt": {
        "seed": 10,
        "prompt": "a lighthouse",
        "negative_prompt": "a red fox",
        "steps": 5,
        "guidance": 3.0,
    },
}
"""Requests for ``small_picture``."""


def small_picture() -> np.ndarray:
    """What is enlarged, uint8 (64, 96, 3): in multiples of 32, as diffusers' network wants it."""
    return np.uint8(np.round((picture(64, 96) + 1) * 127.5))


def thinned(pixels: np.ndarray) -> np.ndarray:
    """What is kept of a picture, uint8 (43, 64, 3)."""
    return np.ascontiguousarray(pixels[::3, ::3])


def write_x2(folder: Path, **unet: Any) -> Path:
    """A folder laid out as stabilityai/sd-x2-latent-upscaler is; ``unet`` changes the UNet's config.json."""
    from sdgen.networks.config import TextEncoderConfig, UNetConfig, VAEConfig
    from sdgen.pipeline.weight_shapes import decoder_shapes, encoder_shapes, text_encoder_shapes, unet_shapes

    write, vae, text = small_models.writer(folder), VAEConfig.from_config(VAE), small_models.TEXT
    config = UNET | unet
    write("unet", "UNet2DConditionModel", config, unet_shapes(UNetConfig.from_config(config)))
    write("vae", "AutoencoderKL", VAE, encoder_shapes(vae) | decoder_shapes(vae))
    write("text_encoder", "", text, text_encoder_shapes(TextEncoderConfig.from_config(text)))
    shutil.copytree(small_models.MINI / "tokenizer", folder / "tokenizer")
    small_models.write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    index = {
        "_class_name": "StableDiffusionLatentUpscalePipeline",
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
