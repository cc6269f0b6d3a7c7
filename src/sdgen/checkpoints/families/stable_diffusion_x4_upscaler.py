"""Stable Diffusion's x4 upscaler: the UNet takes a small noised picture, too, and how noised it is.

Sources: the config.json files of stabilityai/stable-diffusion-x4-upscaler, which agree with
Stability-AI/stablediffusion's x4-upscaling.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sdgen.checkpoints.families.family import Config, extra_channels
from sdgen.checkpoints.families.stable_diffusion_1 import SCHEDULER, UNET_CONFIG, VAE_CONFIG
from sdgen.checkpoints.families.stable_diffusion_2 import SD2


def _upscales(configs: Mapping[str, Config]) -> bool:
    """The UNet takes a picture's three channels, too, and embeds its noise level."""
    unet = configs["unet"]
    return unet.get("num_class_embeds") is not None and extra_channels(unet) == 3


SCALE = {"scaling_factor": 0.08333}
"""Of the latents; diffusers' StableDiffusionUpscalePipeline knows no other."""

_BETAS = {"beta_start": 0.0001, "beta_end": 0.02}

X4_UPSCALER = replace(
    SD2,
    name="x4-upscaler",
    tasks=("upscaling",),
    recognises=_upscales,
    configs={
        **SD2.configs,
        "unet": UNET_CONFIG | {"sample_size": 128},
        "vae": VAE_CONFIG | {"sample_size": 256} | SCALE,
    },
    heads=8,
    scheduler=SCHEDULER | {"_class_name": "DDIMScheduler", "prediction_type": "v_prediction"} | _BETAS,
    predicts_v=None,
    forced={},
    steps=75,
    guidance=9.0,
    upscales=4,
    fixed={"vae": SCALE},
    pipeline="StableDiffusionUpscalePipeline",
    low_res_scheduler=SCHEDULER | {"_class_name": "DDPMScheduler", "clip_sample": True} | _BETAS,
)
