"""Latent diffusion's unconditional models (Rombach et al. 2022, section 4.1): faces, churches, of their own.

Sources: model_index.json and the config.json files of CompVis/ldm-celebahq-256; diffusers' LDMPipeline, which
takes the scheduler's settings as they are.
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


def _draws(configs: Mapping[str, Config]) -> bool:
    return extra_channels(configs["unet"]) == 0


LDM_UNCONDITIONAL = Family(
    name="ldm-unconditional",
    tasks=("unconditional",),
    networks={"unet": UNCONDITIONAL_UNET, "vqvae": VQ_VAE},
    recognises=_draws,
    configs={"unet": UNCONDITIONAL_UNET_CONFIG, "vqvae": VQ_VAE_CONFIG},
    scheduler=SCHEDULER,
    pipeline="LDMPipeline",
    autoencoder="vqvae",
    averaged=True,
    forced={"clip_sample": False},
)
