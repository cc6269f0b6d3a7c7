"""The VAE's decoder by tiles of the latents, for pictures of which no memory holds a feature map.

Of the decoder, group norms and the attention at its lowest resolution alone see all of a picture. Decoded in
tiles with norms of their own, a picture changes its colours from tile to tile. Here the statistics of every
norm are the same for all tiles, so that what a position becomes depends on what is around it and tiles agree
where they overlap. They are those of a sample of the latents, put together as a smaller picture. Attention
stays within a tile: that of the 700,000 positions of a picture of eleven million pixels takes 10^15
operations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sdgen.backend import ops
from sdgen.networks.attention import AttentionBlock
from sdgen.networks.feature_rows import Rows, stored
from sdgen.networks.layers import GroupNorm, Tensor, Weights, silu
from sdgen.networks.resnet import ResnetBlock, Upsample
from sdgen.networks.vae import Decoder, MidBlock
from sdgen.networks.vae_rows import enlarged_rows, resnet_by_rows

PATCH = 32
"""Side of the parts that a sample consists of, in latent positions."""

Moments = list[Tensor]
"""``GroupNorm.moments`` of every norm of a decoder, each (2, 1, channels), in the order of its layers."""


def sampled(length: int, most: int) -> NDArray[np.int64]:
    """Positions of a sample along one side: patches from the middles of equal parts of it.

    Args:
        length: of the side.
        most: positions that the sample may have, a multiple of ``PATCH``; a shorter side is taken whole.
    """
    if length <= most:
        return np.arange(length)
    parts = most // PATCH
    starts = np.floor((np.arange(parts) + 0.5) * length / parts - PATCH / 2).astype(np.int64)
    return (starts[:, None] + np.arange(PATCH)).ravel()


def decoder_moments(decoder: Decoder, weights: Weights, latents: Tensor) -> Moments:
    """The statistics of the norms for a picture's latents (1, height, width, channels), by rows."""
    seen = Moments()
    rows = stored(decoder.enter(weights, latents))
    for block in decoder.blocks:
        if isinstance(block, Upsample):
            rows = enlarged_rows(block, weights, rows.source)
        elif isinstance(block, ResnetBlock):
            rows = stored(resnet_by_rows(block, weights, rows, seen))
        elif isinstance(block, MidBlock):
            rows = _mid(block, weights, rows, seen)
    return [*seen, rows.moments()]


def _mid(block: MidBlock, weights: Weights, rows: Rows, seen: Moments) -> Rows:
    x = resnet_by_rows(block.first, weights, rows, seen)
    if block.attention:
        seen.append(GroupNorm.moments(x))
        x = block.attention(weights, x)
    return stored(resnet_by_rows(block.second, weights, stored(x), seen))


def decode_tile(decoder: Decoder, weights: Weights, latents: Tensor, moments: Moments) -> Tensor:
    """What ``decoder(weights, latents)`` computes where the norms have these statistics."""
    norms = _Norms(weights, moments)
    x = decoder.enter(weights, latents)
    for block in decoder.blocks:
        if isinstance(block, Upsample):
            x = block(weights, x)
        elif isinstance(block, ResnetBlock):
            x = norms.resnet(block, x)
        elif isinstance(block, MidBlock):
            x = norms.resnet(block.first, x)
            if block.attention:
                x = norms.attention(block.attention, x)
            x = norms.resnet(block.second, x)
    return ops.cast(decoder.conv_out(weights, silu(norms.normalised(decoder.norm_out, x))), "float32")


class _Norms:
    """Layers whose norms have given statistics, which are taken in the order of the calls."""

    def __init__(self, weights: Weights, moments: Moments) -> None:
        self._weights, self._moments = weights, iter(moments)

    def normalised(self, norm: GroupNorm, x: Tensor) -> Tensor:
        """As ``norm``."""
        return norm.normalise(x, *norm.scale_and_shift(self._weights, next(self._moments)))

    def resnet(self, block: ResnetBlock, x: Tensor) -> Tensor:
        """As ``block``."""
        weights = self._weights
        h = block.conv1(weights, silu(self.normalised(block.norm1, x)))
        h = block.conv2(weights, silu(self.normalised(block.norm2, h)))
        return h + (x if block.conv_shortcut is None else block.conv_shortcut(weights, x))

    def attention(self, block: AttentionBlock, x: Tensor) -> Tensor:
        """As ``block``."""
        sequence = ops.reshape(self.normalised(block.norm, x), (x.shape[0], -1, x.shape[3]))
        return x + ops.reshape(block.attention(self._weights, sequence), x.shape)
