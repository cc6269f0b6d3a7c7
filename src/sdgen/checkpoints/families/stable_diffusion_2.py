"""Stable Diffusion 2.x: OpenCLIP's text encoder without its last layer, attention in heads of 64 channels.

Sources: the config.json files of stabilityai/stable-diffusion-2-1-base, -2-inpainting and -2-depth, which
agree with Stability-AI/stablediffusion's v2-inference.yaml, v2-inpainting-inference.yaml and
v2-midas-inference.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sdgen.checkpoints.families.family import Config, Family, TextEncoding, extra_channels, latent_channels
from sdgen.checkpoints.families.networks import CLIP_TEXT_ENCODER, UNET, VAE
from sdgen.checkpoints.families.stable_diffusion_1 import (
    SCHEDULER,
    TEXT_ENCODER_CONFIG,
    UNET_CONFIG,
    VAE_CONFIG,
)
from sdgen.checkpoints.tensors import Tensors

_TOLD_BIAS = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"
"""Spreads wider in models that were trained on v (ComfyUI, comfy/supported_models.py, SD20.model_type)."""


def _predicts_v(unet: Tensors) -> bool:
    if _TOLD_BIAS not in unet:
        return False
    with np.errstate(all="ignore"):  # Damaged files hold anything.
        return float(np.std(unet[_TOLD_BIAS].astype(np.float64))) > 0.09


def _is_of_2(unet: Config) -> bool:
    """SD 2 projects into its transformers by linear layers."""
    return unet.get("use_linear_projection") is True


def _draws(configs: Mapping[str, Config]) -> bool:
    return _is_of_2(configs["unet"]) and extra_channels(configs["unet"]) == 0


def _inpaints(configs: Mapping[str, Config]) -> bool:
    """The UNet takes a mask and the latents of what it leaves, too."""
    unet = configs["unet"]
    return _is_of_2(unet) and extra_channels(unet) == 1 + latent_channels(unet)


def _takes_depth(configs: Mapping[str, Config]) -> bool:
    """The UNet takes a map of depths, too."""
    return _is_of_2(configs["unet"]) and extra_channels(configs["unet"]) == 1


SD2 = Family(
    name="sd2",
    tasks=("text-to-image",),
    networks={"unet": UNET, "text_encoder": CLIP_TEXT_ENCODER, "vae": VAE},
    recognises=_draws,
    text=(TextEncoding(pad_token="!", original="open_clip", layers=23),),
    configs={
        "unet": UNET_CONFIG,
        "text_encoder": TEXT_ENCODER_CONFIG
        | {"hidden_act": "gelu", "pad_token_id": 1, "projection_dim": 512},
        "vae": VAE_CONFIG,
    },
    scheduler=SCHEDULER,
    predicts_v=_predicts_v,
    pipeline="StableDiffusionPipeline",
)

SD2_INPAINTING = replace(
    SD2,
    name="sd2-inpainting",
    tasks=("inpainting",),
    recognises=_inpaints,
    predicts_v=None,  # All predict epsilon.
    pipeline="StableDiffusionInpaintPipeline",
)

SD2_DEPTH = replace(
    SD2,
    name="sd2-depth",
    tasks=("depth-to-image",),
    recognises=_takes_depth,
    predicts_v=None,
    pipeline=None,  # Its folder has a network that estimates depths, too.
)
