"""The networks for pictures that join themselves at their edges, on the weights that are there anyway."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sdgen.backend.program import Arriving
from sdgen.networks.layers import Numerics
from sdgen.networks.unet_networks import unet_network
from sdgen.networks.vae import Decoder, Encoder

if TYPE_CHECKING:
    from sdgen.pipeline.model_networks import Networks


@dataclasses.dataclass(frozen=True, eq=False)
class OnWeights:
    """Layers that compute with weights which another network has loaded (``keras_models.Loaded``)."""

    network: Any
    arriving: Arriving


class SeamlessNetworks:
    """UNet and VAE of ``networks`` whose convolutions wrap; each is built when it is first asked for.

    Weights have the same names and shapes whether a network wraps or not, so there is one copy of them.

    Args:
        networks: whose configurations and weights.
        wrap: "x", "y" or "xy"; see ``Numerics.wrap``.
    """

    def __init__(self, networks: Networks, wrap: str) -> None:
        self._networks, self._wrap = networks, wrap
        self.dtype, self.vae_dtype = networks.dtype, networks.vae_dtype
        self.device, self.vae_config = networks.device, networks.vae_config

    @cached_property
    def diffusion_model(self) -> OnWeights:
        """The UNet."""
        plain = self._networks.diffusion_model
        unet = unet_network(self._networks.unet_config, self._wrapping(plain.network.numerics))
        return OnWeights(unet, plain.arriving)

    @cached_property
    def decoder(self) -> OnWeights:
        """The VAE's decoder."""
        return OnWeights(Decoder(self.vae_config, self._vae_numerics()), self._networks.decoder.arriving)

    @cached_property
    def image_encoder(self) -> OnWeights:
        """The VAE's encoder.

        Raises:
            CheckpointError: as ``Networks.image_encoder``.
        """
        plain = self._networks.image_encoder
        return OnWeights(Encoder(self.vae_config, self._vae_numerics()), plain.arriving)

    def _vae_numerics(self) -> Numerics:
        return self._wrapping(self._networks.numerics(self.vae_dtype))

    def _wrapping(self, numerics: Numerics) -> Numerics:
        return dataclasses.replace(numerics, wrap=self._wrap)
