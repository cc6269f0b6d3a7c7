"""Latent diffusion's super-resolution (Rombach et al. 2022, section 4.4): no text, latents of a VQ-VAE.

It was trained to make pictures of 256x256 pixels; of twice that, from 128x128, it makes a whole, too, as
diffusers' example has it.

Sources: model_index.json and the config.json files of CompVis/ldm-super-resolution-4x-openimages; diffusers'
LDMSuperResolutionPipeline, which takes the scheduler's settings as they are and scales no latents.
"""

from __future__ import annotations

from collections.abc import Mapping

from sdgen.checkpoints.families.family import Config, Family, extra_channels
from sdgen.checkpoints.families.latent_diffusion import (
    SCHEDULER,
    UNCONDITIONAL_UNET_CONFIG,
    VQ_VAE_CONFIG,
)
from sdgen.checkpoints.families.networks import UNCONDITIONAL_UNET, VQ_VAE


def _upscales(configs: Mapping[str, Config]) -> bool:
    """The UNet takes a picture's three channels beside the three of the latents."""
    return extra_channels(configs["unet"]) == 3


LDM_SUPER_RESOLUTION = Family(
    name="ldm-sr",
    tasks=("upscaling",),
    networks={"unet": UNCONDITIONAL_UNET, "vqvae": VQ_VAE},
    recognises=_upscales,
    configs={"unet": UNCONDITIONAL_UNET_CONFIG, "vqvae": VQ_VAE_CONFIG},
    scheduler=SCHEDULER | {"beta_end": 0.0155},
    pipeline="LDMSuperResolutionPipeline",
    autoencoder="vqvae",
    averaged=True,
    native_size=512,
    forced={},
    steps=100,
    upscales=4,
    fixed={"vqvae": {"scaling_factor": 1.0}},
)
