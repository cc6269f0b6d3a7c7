"""The residual block of the UNet and the VAE, and their changes of resolution."""

from __future__ import annotations

from sdgen.networks.convolution import Conv3x3
from sdgen.networks.layers import (
    GroupNorm,
    Layer,
    Numerics,
    Pointwise,
    Tensor,
    Weights,
    silu,
    upsample_nearest,
)


class ResnetBlock(Layer):
    """x + conv(silu(norm(conv(silu(norm(x))) + time))) (diffusers' ResnetBlock2D)."""

    def __init__(
        self, name: str, inputs: int, outputs: int, groups: int, epsilon: float, numerics: Numerics
    ) -> None:
        self.outputs = outputs
        self.norm1 = GroupNorm(name + ".norm1", inputs, groups, epsilon)
        self.conv1 = Conv3x3(name + ".conv1", inputs, outputs, numerics)
        self.norm2 = GroupNorm(name + ".norm2", outputs, groups, epsilon)
        self.conv2 = Conv3x3(name + ".conv2", outputs, outputs, numerics)
        self.conv_shortcut = (
            Pointwise(name + ".conv_shortcut", inputs, outputs) if inputs != outputs else None
        )

    def __call__(self, weights: Weights, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """(batch, height, width, inputs) -> (batch, height, width, outputs).

        ``shift`` (batch, outputs) is the time projection plus conv1's bias.
        """
        h = self.conv1(weights, silu(self.norm1(weights, x)), shift)
        h = self.conv2(weights, silu(self.norm2(weights, h)))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(weights, x))


class Downsample(Layer):
    """3x3 convolution of stride 2: the UNet pads both sides, the VAE right and bottom alone."""

    def __init__(self, name: str, channels: int, numerics: Numerics, padding: tuple[int, int]) -> None:
        self.conv = Conv3x3(name + ".conv", channels, channels, numerics, stride=2, padding=padding)

    def __call__(self, weights: Weights, x: Tensor) -> Tensor:
        return self.conv(weights, x)


class Upsample(Layer):
    """Nearest-neighbour doubling, then a 3x3 convolution."""

    def __init__(self, name: str, channels: int, numerics: Numerics) -> None:
        self.conv = Conv3x3(name + ".conv", channels, channels, numerics)

    def __call__(self, weights: Weights, x: Tensor) -> Tensor:
        return self.conv(weights, upsample_nearest(x))
