"""The UNet of a configuration: of residual blocks as Stable Diffusion has them, or of K blocks."""

from __future__ import annotations

from sdgen.networks.config import UNetConfig
from sdgen.networks.denoising_network import DenoisingNetwork
from sdgen.networks.k_unet import KUNet
from sdgen.networks.layers import Numerics
from sdgen.networks.unet import UNet


def unet_network(config: UNetConfig, numerics: Numerics) -> DenoisingNetwork:
    """The network of a configuration."""
    return KUNet(config, numerics) if config.k_blocks else UNet(config, numerics)
