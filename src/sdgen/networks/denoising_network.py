"""``DenoisingNetwork``: what the sampling loop runs, whatever its blocks are."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping

from sdgen.backend import ops
from sdgen.networks.attention import CrossAttention
from sdgen.networks.config import UNetConfig
from sdgen.networks.layers import Layer, Numerics, Tensor, Weights

KeysValues = list[tuple[Tensor, Tensor]]
"""Keys and values of every cross-attention, in the order in which the network meets them."""


class DenoisingNetwork(Layer, abc.ABC):
    """From noisy latents, (batch, height, width, in_channels), to a prediction.

    Height and width are multiples of ``multiple``; the prediction has ``config.predicted_channels``.
    """

    config: UNetConfig
    numerics: Numerics

    @property
    def multiple(self) -> int:
        """Height and width of the latents must be multiples of this."""
        return 1 << (len(self.config.block_out_channels) - 1)

    @abc.abstractmethod
    def embed_timesteps(
        self, weights: Weights, timesteps: Tensor, vectors: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """What the timesteps, and vectors beside them, do to every residual block: ``denoise``'s shifts.

        Args:
            weights: parameter values.
            timesteps: (rows, batch), float32.
            vectors: what this network takes beside them, each (copies batch, ...), where it takes any.

        Returns:
            (rows, batch or copies batch, channels of all that is shifted).
        """

    def project_context(self, weights: Weights, context: Tensor) -> KeysValues:
        """Text encoding (batch, length, cross_attention_dim) -> keys and values of every cross-attention."""
        context = ops.cast(context, self.numerics.activations)
        return [attention.project_context(weights, context) for attention in self.cross_attentions()]

    @abc.abstractmethod
    def cross_attentions(self) -> Iterator[CrossAttention]:
        """Every attention to the text, in the order in which latents meet them."""

    @abc.abstractmethod
    def denoise(self, weights: Weights, latents: Tensor, shifts: Tensor, context: KeysValues) -> Tensor:
        """The network's prediction for noisy latents.

        Args:
            weights: parameter values.
            latents: (batch, height, width, in_channels).
            shifts: (batch or context's batch, ...), a row of ``embed_timesteps``.
            context: from ``project_context``, of the same batch or, for guidance, of twice that: its two
                halves share the latents. Where they share the shifts, too, what comes before the first
                cross-attention is computed once.

        Returns:
            (context's batch, height, width, predicted_channels), float32.
        """

    @abc.abstractmethod
    def deep_features(self, weights: Weights, latents: Tensor, shifts: Tensor, context: KeysValues) -> Tensor:
        """``denoise`` but for its end: (context's batch, height, width, block_out_channels[0]).

        They change little from one step to the next (Ma et al. 2024, section 3.2).
        """

    @abc.abstractmethod
    def denoise_from(
        self, weights: Weights, features: Tensor, latents: Tensor, shifts: Tensor, context: KeysValues
    ) -> Tensor:
        """``denoise`` with ``deep_features`` of these latents or of a step before."""
