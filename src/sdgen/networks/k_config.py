"""The config.json of a UNet of K blocks, as stabilityai/sd-x2-latent-upscaler has it.

Sources: diffusers' convert_k_upscaler_to_diffusers.py, which wrote it, and its unet_2d_condition.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdgen.errors import CheckpointError
from sdgen.files.config_fields import ConfigFields
from sdgen.networks.config_bounds import MOST_BLOCKS, MOST_CHANNELS

GROUP_SIZE = 32
"""Channels that are normalised together."""

_HAS: Mapping[str, tuple[Any, ...]] = {
    "act_fn": ("gelu",),
    "add_attention": (True,),
    "addition_embed_type": (None,),
    "attention_type": ("default",),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "class_embeddings_concat": (False,),
    "conv_in_kernel": (1,),
    "conv_out_kernel": (1,),
    "cross_attention_norm": (None, "layer_norm"),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "mid_block_type": (None,),
    "norm_num_groups": (None,),
    "num_attention_heads": (None,),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "time_embedding_act_fn": (None,),
    "time_embedding_dim": (None,),
    "time_embedding_type": ("fourier",),
    "timestep_post_act": ("gelu",),
}
"""Settings that are fixed here, with the values that they may have."""

_NEEDED = (
    "act_fn",
    "conv_in_kernel",
    "conv_out_kernel",
    "mid_block_type",
    "norm_num_groups",
    "time_embedding_type",
    "timestep_post_act",
)
"""Those whose default in diffusers is another value."""


def has_k_blocks(config: Mapping[str, Any]) -> bool:
    """Whether a UNet's config.json names a block of this kind."""
    names = config.get("down_block_types")
    return isinstance(names, (list, tuple)) and any(
        isinstance(name, str) and name.startswith(("KDown", "KCross")) for name in names
    )


def k_unet_values(fields: ConfigFields) -> dict[str, Any]:
    """The values of ``UNetConfig``.

    Raises:
        CheckpointError: a field is missing or malformed, or asks for a network that sdgen does not have.
    """
    fields.only(_HAS)
    fields.present(_NEEDED)
    widths = fields.wholes("block_out_channels", MOST_CHANNELS, MOST_BLOCKS)
    fields.divides(GROUP_SIZE, widths)
    down, up = (
        [
            "cross" if name.startswith("KCrossAttn") else ""
            for name in fields.names(
                f"{side.lower()}_block_types", [f"K{side}Block2D", f"KCrossAttn{side}Block2D"], MOST_BLOCKS
            )
        ]
        for side in ("Down", "Up")
    )
    _check_stages(fields, widths, down, up)
    head_width = fields.whole("attention_head_dim", MOST_CHANNELS, 8)
    fields.divides(head_width, widths)
    return {
        "in_channels": fields.whole("in_channels", MOST_CHANNELS),
        "out_channels": fields.whole("out_channels", MOST_CHANNELS),
        "block_out_channels": widths,
        "layers_per_block": fields.per_block("layers_per_block", len(widths), 16, 2),
        "heads": tuple(width // head_width for width in widths),
        "depth": (1,) * len(widths),
        "attention_down": tuple(down),
        "attention_mid": "",
        "attention_up": tuple(up),
        "cross_attention_dim": fields.whole("cross_attention_dim", MOST_CHANNELS),
        "use_linear_projection": False,
        "norm_num_groups": 0,
        "norm_eps": fields.number("norm_eps", 1e-12, 1, 1e-5),
        "flip_sin_to_cos": fields.flag("flip_sin_to_cos", True),
        "freq_shift": 0.0,
        "sample_size": fields.pair("sample_size", 4096, 128),
        "k_blocks": True,
        "condition_width": fields.count("time_cond_proj_dim", MOST_CHANNELS),
    }


def _check_stages(fields: ConfigFields, widths: tuple[int, ...], down: list[str], up: list[str]) -> None:
    """Refuse stages that diffusers does not put together, either.

    By its KCrossAttnUpBlock2D the first stage of the way up alone is as wide as the time embedding, twice the
    first width, and as the stage after it; there are self-attention and no skip.

    Raises:
        CheckpointError: the stages are others.
    """
    if not len(widths) == len(down) == len(up):
        raise CheckpointError(
            f"the UNet's config.json has {len(widths)} widths for {len(down)} down and {len(up)} up blocks"
        )
    embedding = 2 * widths[0]
    if widths[-2:] != (embedding, embedding) or embedding in widths[:-2]:
        raise fields.fault(
            "block_out_channels",
            list(widths),
            "the last two, and no others, are to be twice the first",
        )
    for width, after, attention in zip(widths[::-1], widths[-2::-1], up, strict=False):
        if not attention:
            fields.divides(width // GROUP_SIZE, [after])  # Groups of a norm of the next stage's channels.
    if not (down[-1] and up[0]):
        raise CheckpointError(
            "the UNet's config.json has no attention in its deepest blocks, where networks of K blocks have "
            "some; take another model"
        )
