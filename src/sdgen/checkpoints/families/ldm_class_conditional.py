"""Latent diffusion's class-conditional model of ImageNet (Rombach et al. 2022, section 4.3), at 256x256.

Its UNet attends to one vector, of the picture's class. There is one class more than ImageNet has, which
stands for no class, so that guidance can lead away from it. It exists as CompVis's original file alone.

Sources, of CompVis/latent-diffusion: configs/latent-diffusion/cin256-v2.yaml and
scripts/latent_imagenet_diffusion.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping

from sdgen.checkpoints.families.family import Config, Family, extra_channels
from sdgen.checkpoints.families.latent_diffusion import SCHEDULER, VQ_VAE_CONFIG
from sdgen.checkpoints.families.networks import CLASS_EMBEDDER, UNET, VQ_VAE
from sdgen.checkpoints.families.stable_diffusion_1 import UNET_CONFIG


def _draws(configs: Mapping[str, Config]) -> bool:
    return "class_embedder" in configs and extra_channels(configs["unet"]) == 0


LDM_CLASS_CONDITIONAL = Family(
    name="ldm-class-conditional",
    tasks=("class-to-image",),
    networks={"unet": UNET, "class_embedder": CLASS_EMBEDDER, "vqvae": VQ_VAE},
    recognises=_draws,
    configs={
        "unet": UNET_CONFIG,
        "class_embedder": {"_class_name": CLASS_EMBEDDER.class_name},
        "vqvae": VQ_VAE_CONFIG,
    },
    heads=1,
    scheduler=SCHEDULER,
    autoencoder="vqvae",
    class_embedder="class_embedder",
    native_size=256,
    forced={"clip_sample": False},
)
