"""Network configurations, read from the config.json files of diffusers and transformers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sdgen.errors import CheckpointError


def _read(config: Mapping[str, Any], part: str, fixed: Mapping[str, tuple[Any, ...]]) -> None:
    """Refuses a setting that the networks here do not have, rather than ignore it."""
    for name, allowed in fixed.items():
        if name in config and config[name] not in allowed:
            raise CheckpointError(
                f"the {part} has {name} = {config[name]!r}, which sdgen cannot compute "
                f"(it knows {', '.join(map(repr, allowed))})"
            )


def _need(config: Mapping[str, Any], part: str, name: str) -> Any:
    if config.get(name) is None:
        raise CheckpointError(f"the {part}'s config.json has no {name!r}")
    return config[name]


def _whole(part: str, name: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise CheckpointError(
            f"the {part}'s config.json has {name} = {value!r}, where a whole number above 0 belongs"
        )
    return value


def _list(config: Mapping[str, Any], part: str, name: str) -> tuple[Any, ...]:
    value = _need(config, part, name)
    if not isinstance(value, (list, tuple)) or not value:
        raise CheckpointError(f"the {part}'s config.json has {name} = {value!r}, not a list")
    return tuple(value)


def _per_block(part: str, name: str, value: Any, blocks: int) -> tuple[int, ...]:
    """A whole number for each block, from a list of them or one for all."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,) * blocks
    if len(values) != blocks:
        raise CheckpointError(f"the {part}'s config.json has {len(values)} {name} for {blocks} blocks")
    return tuple(_whole(part, name, number) for number in values)


def _widths(config: Mapping[str, Any], part: str) -> tuple[int, ...]:
    """``block_out_channels``, which ``norm_num_groups`` must divide."""
    values = _list(config, part, "block_out_channels")
    groups = _whole(part, "norm_num_groups", config.get("norm_num_groups", 32))
    return tuple(_divided(part, _whole(part, "block_out_channels", width), groups) for width in values)


def _divided(part: str, width: int, parts: int) -> int:
    if width % parts:
        raise CheckpointError(f"the {part}'s config.json divides {width} channels by {parts}")
    return width


@dataclasses.dataclass(frozen=True)
class UNetConfig:
    """UNet2DConditionModel's fields that vary between Stable Diffusion models.

    ``heads`` is diffusers' ``num_attention_heads``, which its config files call
    ``attention_head_dim`` (see the comment in diffusers' unet_2d_condition.py).
    """

    in_channels: int
    out_channels: int
    block_out_channels: tuple[int, ...]
    layers_per_block: tuple[int, ...]
    heads: tuple[int, ...]
    depth: tuple[int, ...]
    attention_down: tuple[bool, ...]
    attention_up: tuple[bool, ...]
    cross_attention_dim: int
    use_linear_projection: bool
    norm_num_groups: int
    norm_eps: float
    flip_sin_to_cos: bool
    freq_shift: float
    sample_size: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> UNetConfig:
        """Reads a UNet's config.json.

        Raises:
            CheckpointError: a field is missing or malformed, or asks for a network that sdgen does not have.
        """
        _read(
            config,
            "UNet",
            {
                "act_fn": ("silu", "swish"),
                "addition_embed_type": (None,),
                "attention_type": ("default",),
                "center_input_sample": (False,),
                "class_embed_type": (None,),
                "conv_in_kernel": (3,),
                "conv_out_kernel": (3,),
                "cross_attention_norm": (None,),
                "downsample_padding": (1,),
                "dual_cross_attention": (False,),
                "encoder_hid_dim": (None,),
                "encoder_hid_dim_type": (None,),
                "mid_block_scale_factor": (1, 1.0),
                "mid_block_type": ("UNetMidBlock2DCrossAttn",),
                "num_attention_heads": (None,),
                "num_class_embeds": (None,),
                "resnet_out_scale_factor": (1, 1.0),
                "resnet_skip_time_act": (False,),
                "resnet_time_scale_shift": ("default",),
                "reverse_transformer_layers_per_block": (None,),
                "time_cond_proj_dim": (None,),
                "time_embedding_act_fn": (None,),
                "time_embedding_dim": (None,),
                "time_embedding_type": ("positional",),
                "timestep_post_act": (None,),
            },
        )
        channels = _widths(config, "UNet")
        blocks = len(channels)
        down = _list(config, "UNet", "down_block_types")
        up = _list(config, "UNet", "up_block_types")
        if not len(down) == len(up) == blocks:
            raise CheckpointError(
                f"the UNet's config.json has {blocks} widths for {len(down)} down and {len(up)} up blocks"
            )
        for name in (*down, *up):
            if name not in ("CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"):
                raise CheckpointError(f"the UNet has a block of type {name!r}, which sdgen does not have")
        only_cross = config.get("only_cross_attention", False)
        if any(only_cross) if isinstance(only_cross, (list, tuple)) else only_cross:
            raise CheckpointError("the UNet has only_cross_attention, which sdgen cannot compute")
        heads = _per_block("UNet", "attention_head_dim", config.get("attention_head_dim", 8), blocks)
        layers, depth = (
            _per_block("UNet", name, config.get(name, usual), blocks)
            for name, usual in (("layers_per_block", 2), ("transformer_layers_per_block", 1))
        )
        for width, count in zip(channels, heads, strict=True):
            _divided("UNet", width, count)
        return cls(
            in_channels=_whole("UNet", "in_channels", _need(config, "UNet", "in_channels")),
            out_channels=_whole("UNet", "out_channels", _need(config, "UNet", "out_channels")),
            block_out_channels=channels,
            layers_per_block=layers,
            heads=heads,
            depth=depth,
            attention_down=tuple(name.startswith("CrossAttn") for name in down),
            attention_up=tuple(name.startswith("CrossAttn") for name in up),
            cross_attention_dim=_whole(
                "UNet", "cross_attention_dim", _need(config, "UNet", "cross_attention_dim")
            ),
            use_linear_projection=bool(config.get("use_linear_projection", False)),
            norm_num_groups=config.get("norm_num_groups", 32),
            norm_eps=config.get("norm_eps", 1e-5),
            flip_sin_to_cos=config.get("flip_sin_to_cos", True),
            freq_shift=config.get("freq_shift", 0),
            sample_size=config.get("sample_size") or 64,
        )


@dataclasses.dataclass(frozen=True)
class TextEncoderConfig:
    """CLIPTextModel's fields."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    hidden_act: str
    layer_norm_eps: float

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TextEncoderConfig:
        """Reads a text encoder's config.json; fields left out have CLIPTextConfig's defaults.

        Raises:
            CheckpointError: a field is malformed, or the activation is not one that CLIP models have.
        """
        values: dict[str, Any] = {
            "vocab_size": 49408,
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_hidden_layers": 12,
            "num_attention_heads": 8,
            "max_position_embeddings": 77,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
        }
        values.update({name: config[name] for name in values if name in config})
        _read(values, "text encoder", {"hidden_act": ("gelu", "quick_gelu")})
        for name, value in values.items():
            if name not in ("hidden_act", "layer_norm_eps"):
                _whole("text encoder", name, value)
        _divided("text encoder", values["hidden_size"], values["num_attention_heads"])
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """AutoencoderKL's fields. Latents are ``scaling_factor`` times what the encoder gives."""

    in_channels: int
    out_channels: int
    latent_channels: int
    block_out_channels: tuple[int, ...]
    layers_per_block: int
    norm_num_groups: int
    mid_block_add_attention: bool
    use_quant_conv: bool
    use_post_quant_conv: bool
    scaling_factor: float
    shift_factor: float

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> VAEConfig:
        """Reads a VAE's config.json.

        Raises:
            CheckpointError: a field is missing or malformed, or asks for a network that sdgen does not have.
        """
        channels = _widths(config, "VAE")
        _read(
            config,
            "VAE",
            {
                "act_fn": ("silu", "swish"),
                "latents_mean": (None,),
                "latents_std": (None,),
                "down_block_types": (["DownEncoderBlock2D"] * len(channels),),
                "up_block_types": (["UpDecoderBlock2D"] * len(channels),),
            },
        )
        return cls(
            in_channels=_whole("VAE", "in_channels", config.get("in_channels", 3)),
            out_channels=_whole("VAE", "out_channels", config.get("out_channels", 3)),
            latent_channels=_whole("VAE", "latent_channels", config.get("latent_channels", 4)),
            block_out_channels=channels,
            layers_per_block=_whole("VAE", "layers_per_block", config.get("layers_per_block", 1)),
            norm_num_groups=config.get("norm_num_groups", 32),
            mid_block_add_attention=config.get("mid_block_add_attention", True),
            use_quant_conv=config.get("use_quant_conv", True),
            use_post_quant_conv=config.get("use_post_quant_conv", True),
            scaling_factor=config.get("scaling_factor", 0.18215),
            shift_factor=config.get("shift_factor") or 0.0,
        )

    @property
    def downsampling(self) -> int:
        """Pixels per latent position, along each axis."""
        return 1 << (len(self.block_out_channels) - 1)
