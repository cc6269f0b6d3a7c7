"""Configurations of Stable Diffusion's networks, for weights that come without any.

Numbers that show in the tensors' shapes (widths, depths, channels) are read from there; the rest is the
family's: activations, head counts, scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdgen.checkpoints.families.family import Family
from sdgen.checkpoints.tensors import Shape
from sdgen.errors import CheckpointError

CODEBOOK = "quantize.embedding.weight"
"""A VQ-VAE's tensor of entries."""

HEAD_WIDTH = 64
"""Width of an attention head of SD 2's UNet and of both text encoders."""


def unet_config(family: Family, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """A UNet's config.json, from the shapes of its tensors by diffusers name.

    Raises:
        CheckpointError: a tensor that every UNet has is missing or of another rank.
    """
    shown = shown_of_unet(shapes)
    if _ALONE in shapes:
        return {**family.config("unet"), **shown}
    heads = family.heads or [max(1, width // HEAD_WIDTH) for width in shown["block_out_channels"]]
    return {**family.config("unet"), **shown, "attention_head_dim": heads}


def shown_of_unet(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """As much of a UNet's config.json as the shapes of its tensors show, whatever its family.

    Raises:
        CheckpointError: a tensor that every UNet has is missing or of another rank.
    """
    if _ALONE in shapes:
        return _shown_without_text(shapes)
    channels = _widths(shapes)
    blocks = len(channels)
    attention = [f"down_blocks.{n}.attentions.0.norm.weight" in shapes for n in range(blocks)]
    cross = _shape(shapes, "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", 2)[1]
    block = "transformer_blocks.0.attn1.to_k.weight"
    embeds_classes = "class_embedding.weight" in shapes
    only_cross = [
        attends and _shape(shapes, f"down_blocks.{n}.attentions.0.{block}", 2)[1] == cross != channels[n]
        for n, attends in enumerate(attention)
    ]
    return {
        "_class_name": "UNet2DConditionModel",
        "in_channels": _shape(shapes, "conv_in.weight")[1],
        "out_channels": _shape(shapes, "conv_out.weight")[0],
        "block_out_channels": channels,
        "layers_per_block": _count(shapes, "down_blocks.0.resnets.{}.conv1.weight"),
        "down_block_types": ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in attention],
        "up_block_types": ["CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in attention[::-1]],
        "cross_attention_dim": cross,
        "use_linear_projection": len(_shape(shapes, "mid_block.attentions.0.proj_in.weight", 2, 4)) == 2,
        "num_class_embeds": _shape(shapes, "class_embedding.weight", 2)[0] if embeds_classes else None,
        "only_cross_attention": only_cross if any(only_cross) else False,
    }


_ALONE = "mid_block.attentions.0.to_q.weight"
"""A tensor of a UNet whose attention is to itself alone."""


def _widths(shapes: Mapping[str, Shape]) -> list[int]:
    blocks = _count(shapes, "down_blocks.{}.resnets.0.conv1.weight")
    return [_shape(shapes, f"down_blocks.{n}.resnets.0.conv1.weight")[0] for n in range(blocks)]


def _shown_without_text(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """As ``shown_of_unet``, of a UNet2DModel."""
    widths = _widths(shapes)
    attends = [f"down_blocks.{n}.attentions.0.to_q.weight" in shapes for n in range(len(widths))]
    return {
        "_class_name": "UNet2DModel",
        "in_channels": _shape(shapes, "conv_in.weight")[1],
        "out_channels": _shape(shapes, "conv_out.weight")[0],
        "block_out_channels": widths,
        "layers_per_block": _count(shapes, "down_blocks.0.resnets.{}.conv1.weight"),
        "down_block_types": [f"{'Attn' if each else ''}DownBlock2D" for each in attends],
        "up_block_types": [f"{'Attn' if each else ''}UpBlock2D" for each in attends[::-1]],
    }


def text_encoder_config(family: Family, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """A text encoder's config.json, from the shapes of its tensors by transformers name.

    Raises:
        CheckpointError: a tensor that every text encoder has is missing or of another rank.
    """
    vocabulary, width = _shape(shapes, "embeddings.token_embedding.weight", 2)
    return {
        **family.config("text_encoder"),
        "hidden_size": width,
        "intermediate_size": _shape(shapes, "encoder.layers.0.mlp.fc1.weight", 2)[0],
        "max_position_embeddings": _shape(shapes, "embeddings.position_embedding.weight", 2)[0],
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "num_hidden_layers": _count(shapes, "encoder.layers.{}.layer_norm1.weight"),
        "vocab_size": vocabulary,
    }


def vae_config(family: Family, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """A VAE's config.json, from the shapes of its decoder's tensors by diffusers name.

    Raises:
        CheckpointError: a tensor that every decoder has is missing or of another rank.
    """
    blocks = _count(shapes, "decoder.up_blocks.{}.resnets.0.conv1.weight")
    widths = [_shape(shapes, f"decoder.up_blocks.{n}.resnets.0.conv1.weight")[0] for n in range(blocks)]
    return {
        **family.config(family.autoencoder),
        **_shown_of_codebook(shapes),
        "block_out_channels": widths[::-1],
        "down_block_types": ["DownEncoderBlock2D"] * blocks,
        "latent_channels": _shape(shapes, "decoder.conv_in.weight")[1],
        "layers_per_block": _count(shapes, "decoder.up_blocks.0.resnets.{}.conv1.weight") - 1,
        "out_channels": _shape(shapes, "decoder.conv_out.weight")[0],
        "up_block_types": ["UpDecoderBlock2D"] * blocks,
    }


def _shown_of_codebook(shapes: Mapping[str, Shape]) -> dict[str, int]:
    """What the shapes of a VQ-VAE's tensors show that those of other VAEs do not."""
    if CODEBOOK not in shapes:
        return {}
    codes, width = _shape(shapes, CODEBOOK, 2)
    return {"num_vq_embeddings": codes, "vq_embed_dim": width}


def _shape(shapes: Mapping[str, Shape], name: str, *ranks: int) -> Shape:
    """The shape of a tensor that every model has: a convolution's, or of one of ``ranks`` dimensions."""
    shape = shapes.get(name)
    if shape is None or len(shape) not in (ranks or (4,)) or 0 in shape:
        fault = f"lack {name}, which every" if shape is None else f"have {name} of shape {shape}, as no"
        raise CheckpointError(
            f"the weights {fault} Stable Diffusion model has; fetch the file again, or take a model of "
            "Stable Diffusion 1 or 2"
        )
    return shape


def _count(shapes: Mapping[str, Shape], pattern: str) -> int:
    number = 0
    while pattern.format(number) in shapes:
        number += 1
    return number
