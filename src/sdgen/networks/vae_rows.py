"""The VAE by rows of the picture: the same numbers in a fraction of the memory.

Decoded or encoded in tiles that are blended, each tile has group norms of its own, which gives another
picture (docs/performance.md). Here the statistics of every norm are those of the whole feature map, and what
lies between two norms is computed a few rows at a time (``feature_rows``). Two feature maps are all that is
held, and the small one while it is enlarged: no normalised, padded or enlarged copy of them, nor a
convolution's workspace for the whole picture. The decoder's enlarged map, which is the largest, is computed
twice, and so is the encoder's first, which comes from the pixels by one convolution.
"""

from __future__ import annotations

from sdgen.backend import ops
from sdgen.networks.convolution import Conv3x3
from sdgen.networks.feature_rows import Rows, as_padded, stored, with_neighbours
from sdgen.networks.layers import Tensor, Weights, upsample_nearest
from sdgen.networks.resnet import Downsample, ResnetBlock, Upsample
from sdgen.networks.vae import Decoder, Encoder


def decode_by_rows(decoder: Decoder, weights: Weights, latents: Tensor) -> Tensor:
    """What ``decoder(weights, latents)`` computes, for one picture: (1, height, width, latent_channels)."""
    rows = stored(decoder.enter(weights, latents))
    for block in decoder.blocks:
        if isinstance(block, Upsample):
            rows = enlarged_rows(block, weights, rows.source)
        elif isinstance(block, ResnetBlock):
            rows = stored(resnet_by_rows(block, weights, rows))
        else:
            rows = stored(block(weights, rows.source))  # type: ignore[operator]
    norm = decoder.norm_out.scale_and_shift(weights, rows.moments())

    def leave(start: Tensor, count: int) -> Tensor:
        return rows.convolved(start, count, norm, decoder.conv_out, weights)

    return ops.cast(rows.filled(leave, rows.room(decoder.conv_out.outputs)), "float32")


def encode_by_rows(encoder: Encoder, weights: Weights, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """What ``encoder.posterior(weights, pixels)`` computes, for one picture: (1, height, width, 3)."""
    rows = _entered(encoder.conv_in, weights, ops.cast(pixels, encoder.activations))
    for block in encoder.blocks:
        if isinstance(block, Downsample):
            rows = stored(_reduced(block, weights, rows))
        elif isinstance(block, ResnetBlock):
            rows = stored(resnet_by_rows(block, weights, rows))
        else:
            rows = stored(block(weights, rows.source))  # type: ignore[operator]
    return encoder.leave(weights, rows.source)


def resnet_by_rows(
    block: ResnetBlock, weights: Weights, rows: Rows, seen: list[Tensor] | None = None
) -> Tensor:
    """As ``block(weights, map)``; the moments of its two norms are added to ``seen``."""
    seen = [] if seen is None else seen
    seen.append(rows.moments())
    norm1 = block.norm1.scale_and_shift(weights, seen[-1])

    def first(start: Tensor, count: int) -> Tensor:
        return rows.convolved(start, count, norm1, block.conv1, weights)

    def shortcut(start: Tensor, count: int) -> Tensor:
        inner = rows.read(start, count)[:, 1:-1]
        return inner if block.conv_shortcut is None else block.conv_shortcut(weights, inner)

    room = rows.room(block.outputs)
    if rows.stored and block.conv_shortcut is None:
        h, added = rows.filled(first, room), rows.source
    else:
        h, added = rows.filled(lambda *at: (first(*at), shortcut(*at)), (room, room))
    middle = stored(h)
    seen.append(middle.moments())
    norm2 = block.norm2.scale_and_shift(weights, seen[-1])

    def second(start: Tensor, count: int) -> Tensor:
        return middle.convolved(start, count, norm2, block.conv2, weights)

    return middle.filled(second, added, add=True)


def _entered(convolution: Conv3x3, weights: Weights, pixels: Tensor) -> Rows:
    """The rows of ``convolution(weights, pixels)``, computed whenever they are read."""
    _, height, width, _ = pixels.shape

    def read(start: Tensor, count: int) -> Tensor:
        rows = as_padded(with_neighbours(pixels, start, count, halo=2), start - 2, height, convolution)
        return convolution(weights, rows)[:, 1:-1]

    return Rows(height, width, convolution.outputs, pixels, read)


def enlarged_rows(block: Upsample, weights: Weights, x: Tensor) -> Rows:
    """The rows of ``block(weights, x)``, computed whenever they are read."""
    _, height, width, _ = x.shape

    def read(start: Tensor, count: int) -> Tensor:
        rows = with_neighbours(x, start // 2, count // 2)
        rows = as_padded(rows, start // 2 - 1, height, block.conv)
        return block.conv(weights, upsample_nearest(rows))[:, 1:-1]

    return Rows(2 * height, 2 * width, block.conv.outputs, x, read, multiple=2)


def _reduced(block: Downsample, weights: Weights, rows: Rows) -> Tensor:
    """As ``block(weights, map)``."""

    def compute(start: Tensor, count: int) -> Tensor:
        # Of the VAE's padding, one row below: the last that is read. The convolution's own is left over.
        below = rows.read(2 * start, 2 * count)[:, 1:]
        return block.conv(weights, as_padded(below, 2 * start, rows.height, block.conv))

    return rows.filled(compute, rows.room(block.conv.outputs, stride=2), stride=2)
