"""Reference configurations of Stable Diffusion 1 and 2, for weights that come without any.

Numbers that show in the tensors' shapes (widths, depths, channels) are read from there; the rest is
the family's: activations, head counts, scales, noise schedule, padding token.

Sources: the config.json files of runwayml/stable-diffusion-v1-5, stabilityai/stable-diffusion-2-1-base
and stabilityai/stable-diffusion-x4-upscaler, which agree with CompVis/stable-diffusion's
v1-inference.yaml and Stability-AI/stablediffusion's v2-inference.yaml and x4-upscaling.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdgen.checkpoints.tensors import Shape
from sdgen.errors import CheckpointError

HEAD_WIDTH = 64
"""Width of an attention head of SD 2's UNet and of both text encoders."""


@dataclass(frozen=True)
class Family:
    """What a family's models share.

    Attributes:
        name: short name.
        heads: attention heads at every resolution of the UNet, or None for heads of ``HEAD_WIDTH``.
        unet, text_encoder, vae: configuration values that no shape shows.
        scheduler: the noise schedule, diffusers' scheduler_config.json.
        pad_token: the token that fills a prompt up to 77.
    """

    name: str
    heads: int | None
    unet: Mapping[str, Any]
    text_encoder: Mapping[str, Any]
    vae: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    pad_token: str


_UNET = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "silu",
    "center_input_sample": False,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-5,
    "norm_num_groups": 32,
    "sample_size": 64,
}

_TEXT_ENCODER = {
    "architectures": ["CLIPTextModel"],
    "attention_dropout": 0.0,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-5,
    "model_type": "clip_text_model",
}

_VAE = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "in_channels": 3,
    "norm_num_groups": 32,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}

_SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
}

SD1 = Family(
    name="sd1",
    heads=8,
    unet=_UNET,
    text_encoder=_TEXT_ENCODER | {"hidden_act": "quick_gelu", "pad_token_id": 1, "projection_dim": 768},
    vae=_VAE,
    scheduler=_SCHEDULER,
    pad_token="<|endoftext|>",
)

SD2 = Family(
    name="sd2",
    heads=None,
    unet=_UNET,
    text_encoder=_TEXT_ENCODER | {"hidden_act": "gelu", "pad_token_id": 1, "projection_dim": 512},
    vae=_VAE,
    scheduler=_SCHEDULER,
    pad_token="!",
)

X4_UPSCALER = Family(
    name="x4-upscaler",
    heads=8,
    unet=_UNET | {"sample_size": 128},
    text_encoder=SD2.text_encoder,
    vae=_VAE | {"sample_size": 256, "scaling_factor": 0.08333},
    scheduler=_SCHEDULER
    | {
        "_class_name": "DDIMScheduler",
        "beta_end": 0.02,
        "beta_start": 0.0001,
        "prediction_type": "v_prediction",
    },
    pad_token="!",
)


def family_of_unet(shapes: Mapping[str, Shape]) -> Family:
    """The family that a UNet's shapes belong to.

    SD 1 projects into its transformers by 1x1 convolutions, SD 2 by linear layers; the upscaler alone
    embeds the noise level of its input.

    Args:
        shapes: shapes by diffusers name.

    Raises:
        CheckpointError: a tensor that every UNet has is missing or of another rank.
    """
    if "class_embedding.weight" in shapes:
        return X4_UPSCALER
    return SD2 if len(_shape(shapes, "mid_block.attentions.0.proj_in.weight", 2, 4)) == 2 else SD1


def unet_config(family: Family, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """A UNet's config.json, from the shapes of its tensors by diffusers name.

    Raises:
        CheckpointError: a tensor that every UNet has is missing or of another rank.
    """
    blocks = _count(shapes, "down_blocks.{}.resnets.0.conv1.weight")
    channels = [_shape(shapes, f"down_blocks.{n}.resnets.0.conv1.weight")[0] for n in range(blocks)]
    attention = [f"down_blocks.{n}.attentions.0.norm.weight" in shapes for n in range(blocks)]
    cross = _shape(shapes, "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", 2)[1]
    block = "transformer_blocks.0.attn1.to_k.weight"
    embeds_classes = "class_embedding.weight" in shapes
    only_cross = [
        attends and _shape(shapes, f"down_blocks.{n}.attentions.0.{block}", 2)[1] == cross != channels[n]
        for n, attends in enumerate(attention)
    ]
    return {
        **family.unet,
        "in_channels": _shape(shapes, "conv_in.weight")[1],
        "out_channels": _shape(shapes, "conv_out.weight")[0],
        "block_out_channels": channels,
        "layers_per_block": _count(shapes, "down_blocks.0.resnets.{}.conv1.weight"),
        "down_block_types": ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in attention],
        "up_block_types": ["CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in attention[::-1]],
        "cross_attention_dim": cross,
        "attention_head_dim": family.heads or [max(1, width // HEAD_WIDTH) for width in channels],
        "use_linear_projection": len(_shape(shapes, "mid_block.attentions.0.proj_in.weight", 2, 4)) == 2,
        "num_class_embeds": _shape(shapes, "class_embedding.weight", 2)[0] if embeds_classes else None,
        "only_cross_attention": only_cross if any(only_cross) else False,
    }


def text_encoder_config(family: Family, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """A text encoder's config.json, from the shapes of its tensors by transformers name.

    Raises:
        CheckpointError: a tensor that every text encoder has is missing or of another rank.
    """
    vocabulary, width = _shape(shapes, "embeddings.token_embedding.weight", 2)
    return {
        **family.text_encoder,
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
        **family.vae,
        "block_out_channels": widths[::-1],
        "down_block_types": ["DownEncoderBlock2D"] * blocks,
        "latent_channels": _shape(shapes, "decoder.conv_in.weight")[1],
        "layers_per_block": _count(shapes, "decoder.up_blocks.0.resnets.{}.conv1.weight") - 1,
        "out_channels": _shape(shapes, "decoder.conv_out.weight")[0],
        "up_block_types": ["UpDecoderBlock2D"] * blocks,
    }


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
