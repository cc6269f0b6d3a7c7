"""The denoising UNet (diffusers' UNet2DConditionModel).

What does not depend on the latents is computed before the sampling loop: ``embed_timesteps`` once for
the whole table of timesteps, ``project_context`` once for the prompts. ``denoise`` is what the loop runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sdgen.backend import ops
from sdgen.networks.attention import AttentionBlock, CrossAttention, SpatialTransformer, match_batch
from sdgen.networks.config import UNetConfig
from sdgen.networks.convolution import Conv3x3
from sdgen.networks.denoising_network import DenoisingNetwork, KeysValues
from sdgen.networks.layers import GroupNorm, Layer, Numerics, Tensor, Weights, silu
from sdgen.networks.resnet import Downsample, ResnetBlock, Upsample
from sdgen.networks.time_embedding import TimeEmbedding, TimeProjections, timestep_embedding

Attention = SpatialTransformer | AttentionBlock
"""What may follow a residual block: attention to the text, or of the positions to each other alone."""


class Stage(Layer):
    """Residual blocks of one resolution, each with an attention after it where the stage has some."""

    def __init__(
        self,
        resnets: list[ResnetBlock],
        attentions: list[Attention],
        resample: Downsample | Upsample | None,
    ) -> None:
        self.resnets, self.attentions, self.resample = resnets, attentions, resample

    def block(
        self, index: int, weights: Weights, x: Tensor, shifts: Iterator[Tensor], context: Iterator[Any]
    ) -> Tensor:
        """One residual block and its attention."""
        x = self.resnet(index, weights, x, next(shifts))
        return self.attentions[index](weights, x, context) if self.attentions else x

    def resnet(self, index: int, weights: Weights, x: Tensor, shift: Tensor) -> Tensor:
        """One residual block; x and shift are repeated to the larger batch of the two."""
        batch = max(x.shape[0], shift.shape[0])
        return self.resnets[index](weights, match_batch(x, batch), match_batch(shift, batch))


class _Assembly:
    """Puts together the stages of a UNet, one after another, in the order in which latents meet them.

    Attributes:
        resnets: the residual blocks so far, each by its name and the channels that it gives.
    """

    def __init__(self, config: UNetConfig, numerics: Numerics) -> None:
        self._config, self._numerics = config, numerics
        self._channels = config.block_out_channels[0]  # What the next block is given.
        self._skips = [self._channels]  # What the way up has yet to take back, last first.
        self.resnets: list[tuple[str, int]] = []

    def down(self, i: int) -> Stage:
        """Stage i of the way down, 0 the widest; its blocks and its downsampling leave skips."""
        config, name = self._config, f"down_blocks.{i}"
        resnets: list[ResnetBlock] = []
        attentions: list[Attention] = []
        for j in range(config.layers_per_block[i]):
            resnets.append(self._resnet(f"{name}.resnets.{j}", i))
            if kind := config.attention_down[i]:
                attentions.append(self._attention(f"{name}.attentions.{j}", i, kind))
            self._skips.append(self._channels)
        if i == len(config.block_out_channels) - 1:
            return Stage(resnets, attentions, None)
        self._skips.append(self._channels)
        down = Downsample(f"{name}.downsamplers.0", self._channels, self._numerics, padding=(1, 1))
        return Stage(resnets, attentions, down)

    def mid(self) -> Stage:
        """Two residual blocks with an attention between them, where there is one."""
        deepest, kind = len(self._config.block_out_channels) - 1, self._config.attention_mid
        resnets = [self._resnet(f"mid_block.resnets.{j}", deepest) for j in range(2)]
        attentions = [self._attention("mid_block.attentions.0", deepest, kind)] if kind else []
        return Stage(resnets, attentions, None)

    def up(self, i: int) -> Stage:
        """Stage i of the way up, 0 the deepest; each block takes a skip back."""
        config, name = self._config, f"up_blocks.{i}"
        stage = len(config.block_out_channels) - 1 - i
        resnets: list[ResnetBlock] = []
        attentions: list[Attention] = []
        for j in range(config.layers_per_block[stage] + 1):
            resnets.append(self._resnet(f"{name}.resnets.{j}", stage, self._skips.pop()))
            if kind := config.attention_up[i]:
                attentions.append(self._attention(f"{name}.attentions.{j}", stage, kind))
        up = Upsample(f"{name}.upsamplers.0", self._channels, self._numerics) if stage else None
        return Stage(resnets, attentions, up)

    def _resnet(self, name: str, stage: int, skip: int = 0) -> ResnetBlock:
        """A residual block to a stage's channels, of the channels so far and those of a skip."""
        inputs, outputs = self._channels + skip, self._config.block_out_channels[stage]
        self._channels = outputs
        self.resnets.append((name, outputs))
        config = self._config
        return ResnetBlock(name, inputs, outputs, config.norm_num_groups, config.norm_eps, self._numerics)

    def _attention(self, name: str, stage: int, kind: str) -> Attention:
        """Attention of one of ``config.ATTENTIONS`` at a stage's width."""
        config = self._config
        channels, heads = config.block_out_channels[stage], config.heads[stage]
        if kind == "self":
            return AttentionBlock(
                name, channels, heads, config.norm_num_groups, config.norm_eps, self._numerics
            )
        return SpatialTransformer(
            name,
            channels,
            heads,
            config.depth[stage],
            config.cross_attention_dim,
            config.norm_num_groups,
            config.use_linear_projection,
            self._numerics,
            only_cross=kind == "cross alone",
        )


class UNet(DenoisingNetwork):
    """UNet of Stable Diffusion and of latent diffusion's models, with text or without."""

    def __init__(self, config: UNetConfig, numerics: Numerics) -> None:
        self.config, self.numerics = config, numerics
        channels, stages = config.block_out_channels, range(len(config.block_out_channels))
        assembly = _Assembly(config, numerics)
        self.conv_in = Conv3x3("conv_in", config.in_channels, channels[0], numerics)
        self.time_embedding = TimeEmbedding(config)
        self.down = [assembly.down(i) for i in stages]
        self.mid = assembly.mid()
        self.up = [assembly.up(i) for i in stages]
        self.conv_norm_out = GroupNorm("conv_norm_out", channels[0], config.norm_num_groups, config.norm_eps)
        self.conv_out = Conv3x3("conv_out", channels[0], config.out_channels, numerics)
        self.time_projections = TimeProjections(4 * channels[0], assembly.resnets)

    def embed_timesteps(
        self, weights: Weights, timesteps: Tensor, vectors: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """As ``DenoisingNetwork``: (rows, batch or copies batch, channels of all residual blocks).

        ``vectors`` are those of ``TimeEmbedding``.
        """
        sinusoids = timestep_embedding(timesteps, self.config)
        return self.project_sinusoids(weights, sinusoids, vectors)

    def project_sinusoids(
        self, weights: Weights, sinusoids: Tensor, vectors: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """As ``embed_timesteps``, from (..., block_out_channels[0]) sinusoids."""
        x = ops.cast(sinusoids, self.numerics.activations)
        return self.time_projections(weights, self.time_embedding(weights, x, vectors or {}))

    def cross_attentions(self) -> Iterator[CrossAttention]:
        """As ``DenoisingNetwork``."""
        for stage in (*self.down, self.mid, *self.up):
            for attention in stage.attentions:
                yield from attention.cross_attentions

    def denoise(self, weights: Weights, latents: Tensor, shifts: Tensor, context: KeysValues) -> Tensor:
        """As ``DenoisingNetwork``; what is computed once includes the widest self-attention."""
        features = self.deep_features(weights, latents, shifts, context)
        return self.denoise_from(weights, features, latents, shifts, context)

    def deep_features(self, weights: Weights, latents: Tensor, shifts: Tensor, context: KeysValues) -> Tensor:
        """All of ``denoise`` up to its last block."""
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
        """As ``DenoisingNetwork``."""
        (*_, shift), last = self.time_projections.split(shifts), self.up[-1]
        depth = len(last.attentions[-1].cross_attentions) if last.attentions else 0
        x = self.conv_in(weights, ops.cast(latents, self.numerics.activations))
        x = ops.concatenate([features, match_batch(x, features.shape[0])], axis=-1)
        x = last.block(-1, weights, x, iter([shift]), iter(context[len(context) - depth :]))
        x = self.conv_out(weights, silu(self.conv_norm_out(weights, x)))
        return ops.cast(x, "float32")
