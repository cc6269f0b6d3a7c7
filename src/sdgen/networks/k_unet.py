"""The UNet of K blocks, of Stable Diffusion's x2 latent upscaler (diffusers' UNet2DConditionModel).

There is no middle; each stage of the way up takes one skip back, of the last block on the way down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sdgen.backend import ops
from sdgen.networks.attention import CrossAttention, match_batch
from sdgen.networks.config import UNetConfig
from sdgen.networks.denoising_network import DenoisingNetwork, KeysValues
from sdgen.networks.k_blocks import (
    AdaptiveGroupNorm,
    Doubling,
    FourierTimeEmbedding,
    Halving,
    KAttentionBlock,
    KResnetBlock,
    NormProjections,
)
from sdgen.networks.k_config import GROUP_SIZE
from sdgen.networks.layers import Layer, Numerics, Pointwise, Tensor, Weights


class KStage(Layer):
    """Residual blocks of one resolution, each with an attention after it where the stage has some."""

    def __init__(
        self,
        resnets: list[KResnetBlock],
        attentions: list[KAttentionBlock],
        resample: Halving | Doubling | None,
    ) -> None:
        self.resnets, self.attentions, self.resample = resnets, attentions, resample

    @property
    def norms(self) -> list[AdaptiveGroupNorm]:
        """In the order of use."""
        found = []
        for i, resnet in enumerate(self.resnets):
            found += resnet.norms + (self.attentions[i].norms if self.attentions else [])
        return found

    def __call__(
        self, weights: Weights, x: Tensor, scale_shifts: Iterator[Tensor], context: Iterator[Any]
    ) -> Tensor:
        """All of it but the change of resolution; x is of the batch of ``scale_shifts``."""
        for i, resnet in enumerate(self.resnets):
            x = resnet(weights, x, scale_shifts)
            if self.attentions:
                x = self.attentions[i](weights, x, scale_shifts, context)
        return x


class _Assembly:
    """Puts together the stages, as diffusers' get_down_block and get_up_block do."""

    def __init__(self, config: UNetConfig, numerics: Numerics) -> None:
        self._config, self._numerics = config, numerics
        self._last = len(config.block_out_channels) - 1

    def down(self, i: int) -> KStage:
        """Stage i of the way down, 0 the widest."""
        widths, name = self._config.block_out_channels, f"down_blocks.{i}"
        width, count = widths[i], self._config.layers_per_block[i]
        entering = [widths[max(i - 1, 0)], *[width] * (count - 1)]
        resnets = [
            self._resnet(f"{name}.resnets.{j}", (inputs, width, width), width)
            for j, inputs in enumerate(entering)
        ]
        attentions = [
            self._attention(f"{name}.attentions.{j}", i, i == self._last)
            for j in range(count if self._config.attention_down[i] else 0)
        ]
        return KStage(resnets, attentions, None if i == self._last else Halving(self._numerics.wrap))

    def up(self, i: int) -> KStage:
        """Stage i of the way up, 0 the deepest; its last block gives the channels of the stage after it."""
        config, stage, name = self._config, self._last - i, f"up_blocks.{i}"
        width, count, after = (
            config.block_out_channels[stage],
            config.layers_per_block[stage],
            max(stage - 1, 0),
        )
        kind, leaving = config.attention_up[i], config.block_out_channels[after]
        resnets, attentions = [], []
        for j in range(count):
            inputs = width * (2 if i and not j else 1)
            outputs = leaving if j == count - 1 else width
            between = width if kind else outputs
            resnets.append(self._resnet(f"{name}.resnets.{j}", (inputs, between, outputs), width))
            if kind:
                of = after if j == count - 1 else stage
                attentions.append(self._attention(f"{name}.attentions.{j}", of, i == 0))
        return KStage(resnets, attentions, Doubling(self._numerics.wrap) if stage else None)

    def _resnet(self, name: str, channels: tuple[int, int, int], width: int) -> KResnetBlock:
        return KResnetBlock(name, channels, width // GROUP_SIZE, self._config.norm_eps, self._numerics)

    def _attention(self, name: str, stage: int, attends_itself: bool) -> KAttentionBlock:
        """Attention at a stage's width."""
        config = self._config
        channels, heads = config.block_out_channels[stage], config.heads[stage]
        return KAttentionBlock(
            name, channels, heads, config.cross_attention_dim, self._numerics, attends_itself
        )


class KUNet(DenoisingNetwork):
    """The network of a configuration with ``k_blocks``.

    Timesteps are what it was trained on, log(sigma) / 4 for the x2 latent upscaler. Latents are at least two
    positions high and wide where they are smallest. The prediction has ``predicted_channels``.
    """

    def __init__(self, config: UNetConfig, numerics: Numerics) -> None:
        self.config, self.numerics = config, numerics
        channels, stages = config.block_out_channels, range(len(config.block_out_channels))
        assembly = _Assembly(config, numerics)
        self.conv_in = Pointwise("conv_in", config.in_channels, channels[0])
        self.time_embedding = FourierTimeEmbedding(config)
        self.down = [assembly.down(i) for i in stages]
        self.up = [assembly.up(i) for i in stages]
        self.conv_out = Pointwise("conv_out", channels[0], config.out_channels)
        norms = [norm for stage in (*self.down, *self.up) for norm in stage.norms]
        self.time_projections = NormProjections(2 * channels[0], norms)

    def embed_timesteps(
        self, weights: Weights, timesteps: Tensor, vectors: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """As ``DenoisingNetwork``: (rows, batch or copies batch, twice the channels of all norms)."""
        sinusoids = self.time_embedding.sinusoids(weights, timesteps)
        sinusoids = ops.cast(sinusoids, self.numerics.activations)
        return self.time_projections(weights, self.time_embedding(weights, sinusoids, vectors or {}))

    def cross_attentions(self) -> Iterator[CrossAttention]:
        """As ``DenoisingNetwork``."""
        for stage in (*self.down, *self.up):
            for attention in stage.attentions:
                yield from attention.cross_attentions

    def denoise(self, weights: Weights, latents: Tensor, shifts: Tensor, context: KeysValues) -> Tensor:
        """As ``DenoisingNetwork``."""
        features, skip = self._before_last(weights, latents, shifts, context)
        return self._last(weights, features, skip, shifts, context)

    def deep_features(self, weights: Weights, latents: Tensor, shifts: Tensor, context: KeysValues) -> Tensor:
        """``denoise`` up to its last stage."""
        return self._before_last(weights, latents, shifts, context)[0]

    def denoise_from(
        self, weights: Weights, features: Tensor, latents: Tensor, shifts: Tensor, context: KeysValues
    ) -> Tensor:
        """As ``DenoisingNetwork``."""
        skip = self.down[0](
            weights,
            self._entered(weights, latents, shifts),
            self.time_projections.split(shifts),
            iter(context),
        )
        return self._last(weights, features, skip, shifts, context)

    def _entered(self, weights: Weights, latents: Tensor, shifts: Tensor) -> Tensor:
        """The latents at the first stage's width, in the batch of the shifts."""
        x = self.conv_in(weights, ops.cast(latents, self.numerics.activations))
        return match_batch(x, max(x.shape[0], shifts.shape[0]))

    def _before_last(
        self, weights: Weights, latents: Tensor, shifts: Tensor, context: KeysValues
    ) -> tuple[Tensor, Tensor]:
        """What the last stage is given: features from below, and the skip of the first stage."""
        scale_shifts, keys_values = self.time_projections.split(shifts), iter(context)
        x, skips = self._entered(weights, latents, shifts), []
        for stage in self.down:
            x = stage(weights, x, scale_shifts, keys_values)
            if stage.resample:
                skips.append(x)
                x = stage.resample(x)
        for stage in self.up[:-1]:
            if stage is not self.up[0]:
                x = _joined(x, skips.pop())
            x = stage(weights, x, scale_shifts, keys_values)
            x = stage.resample(x) if stage.resample else x
        return x, skips.pop()

    def _last(
        self, weights: Weights, features: Tensor, skip: Tensor, shifts: Tensor, context: KeysValues
    ) -> Tensor:
        last = self.up[-1]
        scale_shifts = list(self.time_projections.split(shifts))[-len(last.norms) :]
        x = _joined(features, skip)
        x = last(weights, x, iter(scale_shifts), iter(context[len(context) - len(last.attentions) :]))
        x = self.conv_out(weights, x)[..., : self.config.predicted_channels]
        return ops.cast(x, "float32")


def _joined(x: Tensor, skip: Tensor) -> Tensor:
    """Features and a skip side by side, in the larger batch of the two."""
    batch = max(x.shape[0], skip.shape[0])
    return ops.concatenate([match_batch(x, batch), match_batch(skip, batch)], axis=-1)
