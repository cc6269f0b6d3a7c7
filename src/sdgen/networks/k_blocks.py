"""What a UNet of K blocks is made of (Crowson's k-diffusion; diffusers' KCrossAttnDownBlock2D and others).

Every norm takes its scale and shift from the timestep, and resolutions change by a fixed filter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from sdgen import backend
from sdgen.backend import ops
from sdgen.networks.attention import CrossAttention, SelfAttention, match_batch
from sdgen.networks.config import UNetConfig
from sdgen.networks.convolution import Conv3x3
from sdgen.networks.k_config import GROUP_SIZE
from sdgen.networks.layers import (
    GroupNorm,
    Layer,
    Linear,
    Numerics,
    Parameter,
    Pointwise,
    Tensor,
    Weights,
    columns,
    gelu,
    vector,
)
from sdgen.networks.time_embedding import added


class AdaptiveGroupNorm(GroupNorm):
    """Group normalisation, scaled and shifted by what ``NormProjections`` gives (diffusers' AdaGroupNorm)."""

    def own_parameters(self) -> Iterator[Parameter]:
        return iter(())

    def modulated(self, x: Tensor, scale_shift: Tensor) -> Tensor:
        """Normalises x (batch, height, width, channels); scale_shift is (batch or a part, 2 channels)."""
        batch, shape = x.shape[0], (x.shape[0], self.groups, self.channels // self.groups)
        scale_shift = match_batch(ops.cast(scale_shift, "float32"), batch)
        added_scale, added_shift = ops.split(scale_shift, 2, axis=-1)
        mean, deviation = self.mean_and_inverse_deviation(self.moments(x))
        scale = deviation * (1 + ops.reshape(added_scale, shape))
        shift = ops.reshape(added_shift, shape) - mean * scale
        return self.normalise(x, ops.reshape(scale, (batch, -1)), ops.reshape(shift, (batch, -1)))


class NormProjections(Layer):
    """The time embedding's projections for every ``AdaptiveGroupNorm``, as one matrix product."""

    def __init__(self, width: int, norms: list[AdaptiveGroupNorm]) -> None:
        self.width, self.sizes = width, {norm.name: 2 * norm.channels for norm in norms}

    def own_parameters(self) -> Iterator[Parameter]:
        total = sum(self.sizes.values())
        matrices = {f"{name}.linear.weight": (size, self.width) for name, size in self.sizes.items()}
        biases = {f"{name}.linear.bias": (size,) for name, size in self.sizes.items()}
        yield Parameter("norm_projections.weight", matrices, (1, 0), (self.width, total), columns)
        yield Parameter("norm_projections.bias", biases, (0,), (total,), columns)

    def __call__(self, weights: Weights, embedding: Tensor) -> Tensor:
        """(..., width) -> (..., twice the sum of the norms' channels)."""
        y = backend.matmul(embedding, weights["norm_projections.weight"])
        return y + ops.cast(weights["norm_projections.bias"], y.dtype)

    def split(self, shifts: Tensor) -> Iterator[Tensor]:
        """(batch, twice the sum of channels) -> one (batch, 2 channels) a norm, in the order of use."""
        start = 0
        for size in self.sizes.values():
            yield shifts[:, start : start + size]
            start += size


class FourierTimeEmbedding(Layer):
    """Timesteps, and ``pooled`` (copies batch, condition_width), to what ``NormProjections`` takes.

    The frequencies are parameters (diffusers' GaussianFourierProjection and TimestepEmbedding).
    """

    def __init__(self, config: UNetConfig) -> None:
        self.flip, half = config.flip_sin_to_cos, config.block_out_channels[0]
        self.half, self.takes = half, frozenset(["pooled"] if config.condition_width else [])
        self.cond_proj = (
            Linear("time_embedding.cond_proj", config.condition_width, 2 * half, bias=False)
            if config.condition_width
            else None
        )
        self.linear_1 = Linear("time_embedding.linear_1", 2 * half, 2 * half)
        self.linear_2 = Linear("time_embedding.linear_2", 2 * half, 2 * half)

    def own_parameters(self) -> Iterator[Parameter]:
        yield vector("time_proj.weight", self.half)

    def sinusoids(self, weights: Weights, timesteps: Tensor) -> Tensor:
        """(...) float32 -> (..., 2 block_out_channels[0]) float32."""
        angles = timesteps[..., None] * ops.cast(weights["time_proj.weight"], "float32") * (2 * math.pi)
        parts = [ops.sin(angles), ops.cos(angles)]
        return ops.concatenate(parts[::-1] if self.flip else parts, axis=-1)

    def __call__(self, weights: Weights, sinusoids: Tensor, vectors: Mapping[str, Tensor]) -> Tensor:
        """(rows, batch, 2 block_out_channels[0]) -> (rows, batch or copies batch, 2 block_out_channels[0]).

        Raises:
            ValueError: ``vectors`` are not those that the network takes.
        """
        if vectors.keys() != self.takes:
            raise ValueError(f"this UNet takes {sorted(self.takes)} beside timesteps, not {sorted(vectors)}")
        x = sinusoids
        if self.cond_proj is not None:
            x = added(x, self.cond_proj(weights, ops.cast(vectors["pooled"], x.dtype)))
        return gelu(self.linear_2(weights, gelu(self.linear_1(weights, x))))


class KResnetBlock(Layer):
    """x + conv(gelu(norm(conv(gelu(norm(x)))))) (diffusers' ResnetBlockCondNorm2D).

    Args:
        name: of the reference's module.
        channels: that come in, lie between the convolutions, and go out.
        groups: of the second norm.
        epsilon: of both.
        numerics: how it computes.
    """

    def __init__(
        self, name: str, channels: tuple[int, int, int], groups: int, epsilon: float, numerics: Numerics
    ) -> None:
        inputs, between, outputs = channels
        self.norm1 = AdaptiveGroupNorm(name + ".norm1", inputs, inputs // GROUP_SIZE, epsilon)
        self.conv1 = Conv3x3(name + ".conv1", inputs, between, numerics)
        self.norm2 = AdaptiveGroupNorm(name + ".norm2", between, groups, epsilon)
        self.conv2 = Conv3x3(name + ".conv2", between, outputs, numerics)
        self.conv_shortcut = (
            Pointwise(name + ".conv_shortcut", inputs, outputs, bias=False) if inputs != outputs else None
        )

    @property
    def norms(self) -> list[AdaptiveGroupNorm]:
        """In the order of use."""
        return [self.norm1, self.norm2]

    def __call__(self, weights: Weights, x: Tensor, scale_shifts: Iterator[Tensor]) -> Tensor:
        """(batch, height, width, inputs) -> (batch, height, width, outputs)."""
        h = self.conv1(weights, gelu(self.norm1.modulated(x, next(scale_shifts))))
        h = self.conv2(weights, gelu(self.norm2.modulated(h, next(scale_shifts))))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(weights, x))


class KAttentionBlock(Layer):
    """Attention to the text, after one to the positions where ``attends_itself``, each added to its input.

    diffusers' KAttentionBlock; there is no feed-forward.
    """

    def __init__(
        self, name: str, channels: int, heads: int, context: int, numerics: Numerics, attends_itself: bool
    ) -> None:
        groups = channels // GROUP_SIZE
        self.norm1 = self.attn1 = None
        if attends_itself:
            self.norm1 = AdaptiveGroupNorm(name + ".norm1", channels, groups, 1e-5)
            q, k, v = (f"{name}.attn1.to_{letter}" for letter in "qkv")
            self.attn1 = SelfAttention(
                (q, k, v), name + ".attn1.to_out.0", channels, heads, numerics, bias=True
            )
        self.norm2 = AdaptiveGroupNorm(name + ".norm2", channels, groups, 1e-5)
        self.attn2 = CrossAttention(name + ".attn2", channels, context, heads, numerics, bias=True, norm=True)

    @property
    def norms(self) -> list[AdaptiveGroupNorm]:
        """In the order of use."""
        return [self.norm2] if self.norm1 is None else [self.norm1, self.norm2]

    @property
    def cross_attentions(self) -> list[CrossAttention]:
        """The one."""
        return [self.attn2]

    def __call__(
        self,
        weights: Weights,
        x: Tensor,
        scale_shifts: Iterator[Tensor],
        context: Iterator[tuple[Tensor, Tensor]],
    ) -> Tensor:
        """(batch, height, width, channels) to the same, or of the context's batch where that is larger."""
        if self.norm1 is not None and self.attn1 is not None:
            sequence = _sequence(self.norm1.modulated(x, next(scale_shifts)))
            x = x + ops.reshape(self.attn1(weights, sequence), x.shape)
        keys_values = next(context)
        x = match_batch(x, keys_values[0].shape[0])
        sequence = _sequence(self.norm2.modulated(x, next(scale_shifts)))
        return x + ops.reshape(self.attn2(weights, sequence, keys_values), x.shape)


def _sequence(x: Tensor) -> Tensor:
    """(batch, height, width, channels) -> (batch, height width, channels)."""
    return ops.reshape(x, (x.shape[0], -1, x.shape[3]))


class Halving:
    """Half the resolution by the filter (1, 3, 3, 1) / 8 on both axes (diffusers' KDownsample2D).

    Args:
        wrap: ``Numerics.wrap``; on other axes a map is mirrored at its edges.
    """

    def __init__(self, wrap: str) -> None:
        self.wrap = wrap

    def __call__(self, x: Tensor) -> Tensor:
        """(batch, height, width, channels), even -> (batch, height / 2, width / 2, channels)."""
        for axis, letter in ((1, "y"), (2, "x")):
            size = x.shape[axis]
            wide = _with_neighbours(x, axis, letter in self.wrap)
            first, second, third, fourth = (_part(wide, axis, i, i + size, step=2) for i in range(4))
            x = (first + fourth) * 0.125 + (second + third) * 0.375
        return x


class Doubling:
    """Twice the resolution, linearly between the middles of positions (diffusers' KUpsample2D).

    Args:
        wrap: ``Numerics.wrap``; on other axes a map is mirrored at its edges.
    """

    def __init__(self, wrap: str) -> None:
        self.wrap = wrap

    def __call__(self, x: Tensor) -> Tensor:
        """(batch, height, width, channels) -> (batch, 2 height, 2 width, channels)."""
        for axis, letter in ((1, "y"), (2, "x")):
            shape = list(x.shape)
            wide = _with_neighbours(x, axis, letter in self.wrap)
            before, after = (_part(wide, axis, i, i + shape[axis]) for i in (0, 2))
            pairs = ops.stack([x * 0.75 + before * 0.25, x * 0.75 + after * 0.25], axis=axis + 1)
            shape[axis] *= 2
            x = ops.reshape(pairs, shape)
        return x


def _with_neighbours(x: Tensor, axis: int, wraps: bool) -> Tensor:
    """X with one position more at either end: that of the other end, or mirrored, the edge not repeated.

    Raises:
        ValueError: there is no second position to mirror.
    """
    size = x.shape[axis]
    if size < 2 and not wraps:
        raise ValueError("a map of one position has none to mirror")
    before, after = (_part(x, axis, i, i + 1) for i in ((size - 1, 0) if wraps else (1, size - 2)))
    return ops.concatenate([before, x, after], axis=axis)


def _part(x: Tensor, axis: int, start: int, stop: int, step: int = 1) -> Tensor:
    """Positions of one axis of a map: every ``step``-th from ``start``, those before ``stop``."""
    index = (slice(None),) * axis + (slice(start, stop, step),)
    return x[index]
