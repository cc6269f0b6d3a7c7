"""Stable Diffusion's x2 latent upscaler: the UNet is of K blocks and takes a picture's latents, too.

Sources: diffusers' StableDiffusionLatentUpscalePipeline and convert_k_upscaler_to_diffusers.py, which wrote
stabilityai/sd-x2-latent-upscaler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sdgen.checkpoints.families.family import Config
from sdgen.checkpoints.families.stable_diffusion_1 import SCHEDULER, SD1
from sdgen.diffusion.choices import KARRAS
from sdgen.networks.k_config import has_k_blocks


def _upscales(configs: Mapping[str, Config]) -> bool:
    """No other family has K blocks."""
    return has_k_blocks(configs["unet"])


X2_UPSCALER = replace(
    SD1,
    name="x2-latent-upscaler",
    tasks=("upscaling",),
    recognises=_upscales,
    scheduler=SCHEDULER | {"_class_name": "EulerDiscreteScheduler"},
    # Its scheduler_config.json says "original_sample", which is what diffusers' pipeline makes of the output.
    forced={"prediction_type": KARRAS},
    steps=75,
    guidance=9.0,
    upscales=2,
    pipeline=None,
)
