"""Floating-point operations of the networks, counted from their layers.

A multiplication with its addition counts as two. Convolutions, matrix products and attention are counted,
by their definitions (a convolution by Winograd's algorithm as the convolution that it computes); norms and
activations, under 1 %, are not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from sdgen.networks.attention import CrossAttention, SelfAttention, SpatialTransformer
from sdgen.networks.convolution import Conv3x3
from sdgen.networks.layers import Layer, Linear
from sdgen.networks.resnet import Upsample
from sdgen.networks.text_encoder import TextEncoder
from sdgen.networks.unet import Stage, UNet
from sdgen.networks.vae import Decoder


def unet_flops(unet: UNet, height: int, width: int, length: int = 77, guided: bool = False) -> int:
    """Floating-point operations of one evaluation for one image.

    Projections of the text and of the timesteps are left out: they run once a picture.

    Args:
        unet: the network.
        height, width: of the latents.
        length: of the text encoding.
        guided: for both halves of the guidance, which share what comes before the first cross-attention.
    """
    positions = height * width

    def stage(part: Stage, positions: int) -> int:
        return sum(_flops(layer, positions, length) for layer in (*part.resnets, *part.attentions))

    total = _flops(unet.conv_in, positions) + _flops(unet.conv_out, positions)
    for part in unet.down:
        total += stage(part, positions)
        if part.resample:
            positions //= 4
            total += _flops(part.resample, positions)
    total += stage(unet.mid, positions)
    for part in unet.up:
        total += stage(part, positions)
        if part.resample:
            positions *= 4
            total += _flops(part.resample, positions)
    return 2 * total - _shared_flops(unet, height * width) if guided else total


def decoder_flops(decoder: Decoder, height: int, width: int) -> int:
    """Floating-point operations of decoding one image of (height, width) latents."""
    positions = height * width
    total = _flops(decoder.conv_in, positions)
    if decoder.post_quant_conv:
        total += _flops(decoder.post_quant_conv, positions)
    for block in decoder.blocks:
        if isinstance(block, Upsample):
            positions *= 4
        total += _flops(block, positions)
    return total + _flops(decoder.conv_out, positions)


def text_encoder_flops(encoder: TextEncoder, length: int = 77) -> int:
    """Floating-point operations of encoding one row of tokens."""
    return sum(_flops(layer, length) for layer in encoder.layers)


def _shared_flops(unet: UNet, positions: int) -> int:
    """Floating-point operations before the first cross-attention (``UNet.denoise``)."""
    total = _flops(unet.conv_in, positions)
    for part in (*unet.down, unet.mid):
        for resnet, attention in itertools.zip_longest(part.resnets, part.attentions):
            total += _flops(resnet, positions)
            if isinstance(attention, SpatialTransformer):
                first = attention.blocks[0].attn1
                total += _flops(attention.proj_in, positions)
                return total + (_flops(first, positions) if isinstance(first, SelfAttention) else 0)
            if attention is not None:
                total += _flops(attention, positions)
        if part.resample:
            positions //= 4
            total += _flops(part.resample, positions)
    return total


def _flops(layer: Layer, positions: int, length: int = 0) -> int:
    """Floating-point operations of a layer and its parts for one image, at ``positions`` places."""
    if isinstance(layer, Conv3x3):
        return 2 * 9 * layer.inputs * layer.outputs * positions
    if isinstance(layer, Linear):
        return 2 * layer.inputs * layer.outputs * len(layer.names) * positions
    below = sum(_flops(child, positions, length) for child in _children(layer))
    if isinstance(layer, SelfAttention):
        return below + 4 * positions * positions * layer.to_out.inputs
    if isinstance(layer, CrossAttention):
        return below + 4 * positions * length * layer.to_out.inputs - _flops(layer.to_kv, positions)
    return below


def _children(layer: Layer) -> Iterator[Layer]:
    for value in vars(layer).values():
        for child in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(child, Layer):
                yield child
