"""The autoencoder between pixels and latents (diffusers' AutoencoderKL)."""

from __future__ import annotations

from sdgen.backend import ops
from sdgen.networks.attention import AttentionBlock
from sdgen.networks.config import VAEConfig
from sdgen.networks.convolution import Conv3x3
from sdgen.networks.layers import Embedding, GroupNorm, Layer, Numerics, Pointwise, Tensor, Weights, silu
from sdgen.networks.resnet import Downsample, ResnetBlock, Upsample

EPSILON = 1e-6
"""Of every group norm of the VAE."""

_LEAST = -30.0
"""Log variance of latents, at least."""


class MidBlock(Layer):
    """Residual block, attention, residual block."""

    def __init__(self, name: str, channels: int, config: VAEConfig, numerics: Numerics) -> None:
        groups = config.norm_num_groups
        self.first, self.second = (
            ResnetBlock(f"{name}.resnets.{i}", channels, channels, groups, EPSILON, numerics) for i in (0, 1)
        )
        self.attention = (
            AttentionBlock(f"{name}.attentions.0", channels, 1, groups, EPSILON, numerics)
            if config.mid_block_add_attention
            else None
        )

    def __call__(self, weights: Weights, x: Tensor) -> Tensor:
        x = self.first(weights, x)
        if self.attention:
            x = self.attention(weights, x)
        return self.second(weights, x)


class Encoder(Layer):
    """Pixels to the mean and log variance of the latents' distribution.

    One that a codebook belongs to has no variance, or as good as none; what it gives is not quantised yet.
    """

    def __init__(self, config: VAEConfig, numerics: Numerics) -> None:
        self.config, self.activations = config, numerics.activations
        channels, groups = config.block_out_channels, config.norm_num_groups
        self.conv_in = Conv3x3("encoder.conv_in", config.in_channels, channels[0], numerics)
        self.blocks: list[Layer] = []
        current = channels[0]
        for i, outputs in enumerate(channels):
            for j in range(config.layers_per_block):
                name = f"encoder.down_blocks.{i}.resnets.{j}"
                self.blocks.append(ResnetBlock(name, current, outputs, groups, EPSILON, numerics))
                current = outputs
            if i < len(channels) - 1:
                name = f"encoder.down_blocks.{i}.downsamplers.0"
                self.blocks.append(Downsample(name, current, numerics, padding=(0, 1)))
        self.blocks.append(MidBlock("encoder.mid_block", current, config, numerics))
        self.norm_out = GroupNorm("encoder.conv_norm_out", current, groups, EPSILON)
        moments = config.latent_channels if config.codes else 2 * config.latent_channels
        quantised = config.code_width or moments
        self.conv_out = Conv3x3("encoder.conv_out", current, moments, numerics)
        self.quant_conv = Pointwise("quant_conv", moments, quantised) if config.use_quant_conv else None

    def __call__(self, weights: Weights, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, already scaled to the UNet's latents.

        Args:
            weights: parameter values.
            pixels: (batch, height, width, 3), -1 to 1, height and width multiples of ``downsampling``.

        Returns:
            Two tensors (batch, height / downsampling, width / downsampling, latent_channels), float32.
            The log variance is clamped to -30..20 before scaling, as in Rombach et al. 2022's code.
        """
        mean, log_variance = self.posterior(weights, pixels)
        return self.config.scaled(mean), log_variance + 2 * ops.log(self.config.scaling_factor)

    def posterior(self, weights: Weights, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """As ``__call__``, before it is scaled."""
        x = self.conv_in(weights, ops.cast(pixels, self.activations))
        for block in self.blocks:
            x = block(weights, x)  # type: ignore[operator]
        return self.leave(weights, x)

    def leave(self, weights: Weights, x: Tensor) -> tuple[Tensor, Tensor]:
        """The last feature map to mean and log variance, not scaled."""
        x = self.conv_out(weights, silu(self.norm_out(weights, x)))
        if self.quant_conv:
            x = self.quant_conv(weights, x)
        x = ops.cast(x, "float32")
        if self.config.codes:
            return x, ops.full_like(x, _LEAST)
        mean, log_variance = ops.split(x, 2, axis=-1)
        return mean, ops.clip(log_variance, _LEAST, 20.0)


class Codebook(Layer):
    """Latents to the nearest entries of a codebook (van den Oord et al. 2017, equation 1)."""

    def __init__(self, name: str, codes: int, width: int) -> None:
        self.entries = Embedding(name, codes, width)

    def __call__(self, weights: Weights, latents: Tensor) -> Tensor:
        """(batch, height, width, code_width) -> the same, each position the entry that is nearest to it."""
        entries = ops.cast(weights[self.entries.name + ".weight"], "float32")
        lengths = ops.sum(ops.square(entries), axis=-1)

        def nearest(row: Tensor) -> Tensor:
            # |z - e|^2 without |z|^2, which is the same for all entries e.
            distances = lengths - 2 * ops.matmul(row, ops.transpose(entries))
            return ops.take(entries, ops.argmin(distances, axis=-1), axis=0)

        # A row of positions at a time: each has a distance to thousands of entries.
        rows = ops.reshape(ops.cast(latents, "float32"), (-1, *latents.shape[2:]))
        return ops.reshape(ops.map(nearest, rows), latents.shape)


class Decoder(Layer):
    """Latents to pixels; with a codebook, from the entries that are nearest to them."""

    def __init__(self, config: VAEConfig, numerics: Numerics) -> None:
        self.config, self.activations = config, numerics.activations
        channels, groups = config.block_out_channels[::-1], config.norm_num_groups
        latent, width = config.latent_channels, config.code_width or config.latent_channels
        self.codebook = (
            Codebook("quantize.embedding", config.codes, config.code_width) if config.codes else None
        )
        self.post_quant_conv = (
            Pointwise("post_quant_conv", width, latent) if config.use_post_quant_conv else None
        )
        self.conv_in = Conv3x3("decoder.conv_in", latent, channels[0], numerics)
        self.blocks: list[Layer] = [MidBlock("decoder.mid_block", channels[0], config, numerics)]
        current = channels[0]
        for i, outputs in enumerate(channels):
            for j in range(config.layers_per_block + 1):
                name = f"decoder.up_blocks.{i}.resnets.{j}"
                self.blocks.append(ResnetBlock(name, current, outputs, groups, EPSILON, numerics))
                current = outputs
            if i < len(channels) - 1:
                self.blocks.append(Upsample(f"decoder.up_blocks.{i}.upsamplers.0", current, numerics))
        self.norm_out = GroupNorm("decoder.conv_norm_out", current, groups, EPSILON)
        self.conv_out = Conv3x3("decoder.conv_out", current, config.out_channels, numerics)

    def __call__(self, weights: Weights, latents: Tensor) -> Tensor:
        """Latents (batch, height, width, latent_channels) to pixels, float32, about -1 to 1.

        The pixels are (batch, f height, f width, 3); f is ``config.downsampling``, 8 for Stable Diffusion.
        """
        x = self.enter(weights, latents)
        for block in self.blocks:
            x = block(weights, x)  # type: ignore[operator]
        return ops.cast(self.conv_out(weights, silu(self.norm_out(weights, x))), "float32")

    def enter(self, weights: Weights, latents: Tensor) -> Tensor:
        """Latents to the first feature map (batch, height, width, channels), in the network's dtype."""
        x = latents / self.config.scaling_factor + self.config.shift_factor
        x = ops.cast(self.codebook(weights, x) if self.codebook else x, self.activations)
        if self.post_quant_conv:
            x = self.post_quant_conv(weights, x)
        return self.conv_in(weights, x)
