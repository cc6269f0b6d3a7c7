"""The denoising UNet (diffusers' UNet2DConditionModel).

What does not depend on the latents is computed before the sampling loop: ``embed_timesteps`` once for
the whole table of timesteps, ``project_context`` once for the prompts. ``denoise`` is what the loop runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sdgen.backend import ops
from sdgen.networks.attention import CrossAttention, SpatialTransformer, match_batch
from sdgen.networks.config import UNetConfig
from sdgen.networks.convolution import Conv3x3
from sdgen.networks.layers import (
    GroupNorm,
    Layer,
    Numerics,
    Tensor,
    Weights,
    silu,
)
from sdgen.networks.resnet import Downsample, ResnetBlock, Upsample
from sdgen.networks.time_embedding import TimeEmbedding, TimeProjections, timestep_embedding

KeysValues = list[tuple[Tensor, Tensor]]
"""Keys and values of every cross-attention, in the order in which the network meets them."""


class Stage(Layer):
    """Residual blocks of one resolution, each with a spatial transformer where the stage has attention."""

    def __init__(
        self,
        resnets: list[ResnetBlock],
        attentions: list[SpatialTransformer],
        resample: Downsample | Upsample | None,
    ) -> None:
        self.resnets, self.attentions, self.resample = resnets, attentions, resample

    def block(
        self, index: int, weights: Weights, x: Tensor, shifts: Iterator[Tensor], context: Iterator[Any]
    ) -> Tensor:
        """One residual block and its transformer."""
        x = self.resnet(index, weights, x, next(shifts))
        return self.attentions[index](weights, x, context) if self.attentions else x

    def resnet(self, index: int, weights: Weights, x: Tensor, shift: Tensor) -> Tensor:
        """One residual block; x and shift are repeated to the larger batch of the two."""
        batch = max(x.shape[0], shift.shape[0])
        return self.resnets[index](weights, match_batch(x, batch), match_batch(shift, batch))


class UNet(Layer):
    """UNet of Stable Diffusion 1.x and 2.x and models of their shape.

    Latents are (batch, height, width, in_channels), height and width multiples of
    2 ** (stages - 1); the output has out_channels.
    """

    def __init__(self, config: UNetConfig, numerics: Numerics) -> None:
        self.config = config
        channels, groups, epsilon = config.block_out_channels, config.norm_num_groups, config.norm_eps
        stages = len(channels)
        blocks: list[tuple[str, int]] = []

        def resnet(name: str, inputs: int, outputs: int) -> ResnetBlock:
            blocks.append((name, outputs))
            return ResnetBlock(name, inputs, outputs, groups, epsilon, numerics)

        def attention(name: str, stage: int) -> SpatialTransformer:
            return SpatialTransformer(
                name,
                channels[stage],
                config.heads[stage],
                config.depth[stage],
                config.cross_attention_dim,
                groups,
                config.use_linear_projection,
                numerics,
            )

        self.conv_in = Conv3x3("conv_in", config.in_channels, channels[0], numerics)
        width = 4 * channels[0]
        self.time_embedding = TimeEmbedding(config)

        skips = [channels[0]]
        self.down: list[Stage] = []
        current = channels[0]
        for i in range(stages):
            name, resnets, attentions = f"down_blocks.{i}", [], []
            for j in range(config.layers_per_block[i]):
                resnets.append(resnet(f"{name}.resnets.{j}", current, channels[i]))
                if config.attention_down[i]:
                    attentions.append(attention(f"{name}.attentions.{j}", i))
                current = channels[i]
                skips.append(current)
            last = i == stages - 1
            down = None if last else Downsample(f"{name}.downsamplers.0", current, numerics, padding=(1, 1))
            if not last:
                skips.append(current)
            self.down.append(Stage(resnets, attentions, down))

        mid = [resnet(f"mid_block.resnets.{j}", current, current) for j in range(2)]
        self.mid = Stage(mid, [attention("mid_block.attentions.0", stages - 1)], None)

        self.up: list[Stage] = []
        for i in range(stages):
            stage = stages - 1 - i
            name, resnets, attentions = f"up_blocks.{i}", [], []
            for j in range(config.layers_per_block[stage] + 1):
                resnets.append(resnet(f"{name}.resnets.{j}", current + skips.pop(), channels[stage]))
                if config.attention_up[i]:
                    attentions.append(attention(f"{name}.attentions.{j}", stage))
                current = channels[stage]
            up = Upsample(f"{name}.upsamplers.0", current, numerics) if stage else None
            self.up.append(Stage(resnets, attentions, up))

        self.conv_norm_out = GroupNorm("conv_norm_out", channels[0], groups, epsilon)
        self.conv_out = Conv3x3("conv_out", channels[0], config.out_channels, numerics)
        self.time_projections = TimeProjections(width, blocks)
        self.numerics = numerics

    @property
    def multiple(self) -> int:
        """Height and width of the latents must be multiples of this."""
        return 1 << (len(self.config.block_out_channels) - 1)

    def embed_timesteps(
        self, weights: Weights, timesteps: Tensor, vectors: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """What the timesteps, and vectors beside them, add to every residual block: ``denoise``'s shifts.

        Args:
            weights: parameter values.
            timesteps: (rows, batch), float32.
            vectors: of ``TimeEmbedding``, each (copies batch, ...), where this network takes any.

        Returns:
            (rows, batch or copies batch, channels of all residual blocks).
        """
        sinusoids = timestep_embedding(timesteps, self.config)
        return self.project_sinusoids(weights, sinusoids, vectors)

    def project_sinusoids(
        self, weights: Weights, sinusoids: Tensor, vectors: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """As ``embed_timesteps``, from (..., block_out_channels[0]) sinusoids."""
        x = ops.cast(sinusoids, self.numerics.activations)
        return self.time_projections(weights, self.time_embedding(weights, x, vectors or {}))

    def project_context(self, weights: Weights, context: Tensor) -> KeysValues:
        """Text encoding (batch, length, cross_attention_dim) -> keys and values of every cross-attention."""
        context = ops.cast(context, self.numerics.activations)
        return [attention.project_context(weights, context) for attention in self._cross_attentions()]

    def _cross_attentions(self) -> Iterator[CrossAttention]:
        for stage in (*self.down, self.mid, *self.up):
            for transformer in stage.attentions:
                for block in transformer.blocks:
                    yield block.attn2

    def denoise(self, weights: Weights, latents: Tensor, shifts: Tensor, context: KeysValues) -> Tensor:
        """The network's prediction for noisy latents.

        Args:
            weights: parameter values.
            latents: (batch, height, width, in_channels).
            shifts: (batch or context's batch, channels of all residual blocks), from ``embed_timesteps``.
            context: from ``project_context``, of the same batch or, for guidance, of twice that: its two
                halves share the latents. Where they share the shifts, too, what comes before the first
                cross-attention, the widest self-attention included, is computed once.

        Returns:
            (context's batch, height, width, out_channels), float32.
        """
        features = self.deep_features(weights, latents, shifts, context)
        return self.denoise_from(weights, features, latents, shifts, context)

    def deep_features(self, weights: Weights, latents: Tensor, shifts: Tensor, context: KeysValues) -> Tensor:
        """All of ``denoise`` up to its last block: (context's batch, height, width, block_out_channels[0]).

        They change little from one step to the next (Ma et al. 2024, section 3.2).
        """
        shift, keys_values = self.time_projections.split(shifts), iter(context)
        x = self.conv_in(weights, ops.cast(latents, self.numerics.activations))
        skips = [x]
        for stage in self.down:
            for j in range(len(stage.resnets)):
                x = stage.block(j, weights, x, shift, keys_values)
                skips.append(x)
            if stage.resample:
                x = stage.resample(weights, x)
                skips.append(x)
        x = self.mid.block(0, weights, x, shift, keys_values)
        x = self.mid.resnet(1, weights, x, next(shift))
        for stage in self.up:
            for j in range(len(stage.resnets) - (stage is self.up[-1])):
                x = ops.concatenate([x, match_batch(skips.pop(), x.shape[0])], axis=-1)
                x = stage.block(j, weights, x, shift, keys_values)
            if stage.resample:
                x = stage.resample(weights, x)
        return x

    def denoise_from(
        self, weights: Weights, features: Tensor, latents: Tensor, shifts: Tensor, context: KeysValues
    ) -> Tensor:
        """``denoise`` with ``deep_features`` of these latents or of a step before."""
        (*_, shift), last = self.time_projections.split(shifts), self.up[-1]
        depth = len(last.attentions[-1].blocks) if last.attentions else 0
        x = self.conv_in(weights, ops.cast(latents, self.numerics.activations))
        x = ops.concatenate([features, match_batch(x, features.shape[0])], axis=-1)
        x = last.block(-1, weights, x, iter([shift]), iter(context[len(context) - depth :]))
        x = self.conv_out(weights, silu(self.conv_norm_out(weights, x)))
        return ops.cast(x, "float32")
