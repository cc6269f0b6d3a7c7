"""Network configurations, read from the config.json files of diffusers and transformers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from sdgen.errors import CheckpointError
from sdgen.files.config_fields import ConfigFields
from sdgen.networks.config_bounds import MOST_BLOCKS, MOST_CHANNELS, MOST_LAYERS
from sdgen.networks.k_config import has_k_blocks, k_unet_values


def _widths(fields: ConfigFields) -> tuple[tuple[int, ...], int]:
    """``block_out_channels``, and ``norm_num_groups``, which must divide them."""
    widths = fields.wholes("block_out_channels", MOST_CHANNELS, MOST_BLOCKS)
    groups = fields.whole("norm_num_groups", MOST_CHANNELS, 32)
    fields.divides(groups, widths)
    return widths, groups


ATTENTIONS = ("cross", "cross alone", "self", "")
"""What follows a residual block: a transformer of self-attention and attention to the text, or of the latter
twice; self-attention alone; or nothing."""

_BLOCKS: Mapping[str, str] = {"CrossAttn": "cross", "Attn": "self", "": ""}
"""How the names of diffusers' block types begin, before Down or Up, and their attention."""

_UNET_HAS: Mapping[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "addition_embed_type": (None, "text_time"),
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
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "attn_norm_num_groups": (None,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn", "UNetMidBlock2D"),
    "num_attention_heads": (None,),
    "resnet_out_scale_factor": (1, 1.0),
    "resnet_skip_time_act": (False,),
    "resnet_time_scale_shift": ("default",),
    "reverse_transformer_layers_per_block": (None,),
    "time_cond_proj_dim": (None,),
    "time_embedding_act_fn": (None,),
    "time_embedding_dim": (None,),
    "time_embedding_type": ("positional",),
    "timestep_post_act": (None,),
}
"""Settings of diffusers' UNets that are fixed here, with the values that they may have."""


@dataclasses.dataclass(frozen=True)
class UNetConfig:
    """The fields of UNet2DConditionModel, and of UNet2DModel, that vary between models.

    Attention is one of ``ATTENTIONS``, of the stages on the way down, the middle, and those on the way up.

    ``sample_size`` is (height, width) of the latents. ``heads`` is diffusers' ``num_attention_heads``, which
    its config files call ``attention_head_dim`` (see the comment in diffusers' unet_2d_condition.py).
    ``labels`` is its ``num_class_embeds``, ``added_inputs`` its ``projection_class_embeddings_input_dim`` and
    ``size_width`` its ``addition_time_embed_dim``, each 0 where the network has no such input.

    With ``k_blocks`` it is a network of ``k_unet``, and ``condition_width`` is its ``time_cond_proj_dim``.
    """

    in_channels: int
    out_channels: int
    block_out_channels: tuple[int, ...]
    layers_per_block: tuple[int, ...]
    heads: tuple[int, ...]
    depth: tuple[int, ...]
    attention_down: tuple[str, ...]
    attention_mid: str
    attention_up: tuple[str, ...]
    cross_attention_dim: int
    use_linear_projection: bool
    norm_num_groups: int
    norm_eps: float
    flip_sin_to_cos: bool
    freq_shift: float
    sample_size: tuple[int, int]
    labels: int = 0
    added_inputs: int = 0
    size_width: int = 0
    k_blocks: bool = False
    condition_width: int = 0

    @property
    def predicted_channels(self) -> int:
        """Of the prediction; the last that K blocks put out is a variance, which nothing takes."""
        return self.out_channels - self.k_blocks

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> UNetConfig:
        """Reads a UNet's config.json.

        Raises:
            CheckpointError: a field is missing or malformed, or asks for a network that sdgen does not have.
        """
        fields = ConfigFields(config, "UNet")
        if has_k_blocks(config):
            return cls(**k_unet_values(fields))
        fields.only(_UNET_HAS)
        channels, groups = _widths(fields)
        blocks = len(channels)
        down, up = (
            [
                _BLOCKS[name.removesuffix(f"{side}Block2D")]
                for name in fields.names(
                    f"{side.lower()}_block_types",
                    [f"{start}{side}Block2D" for start in _BLOCKS],
                    MOST_BLOCKS,
                )
            ]
            for side in ("Down", "Up")
        )
        if not len(down) == len(up) == blocks:
            raise CheckpointError(
                f"the UNet's config.json has {blocks} widths for {len(down)} down and {len(up)} up blocks"
            )
        only_cross = fields.flags("only_cross_attention", blocks, False)
        down = [_alone(kind, only) for kind, only in zip(down, only_cross, strict=True)]
        up = [_alone(kind, only) for kind, only in zip(up, only_cross[::-1], strict=True)]
        # The middle has self-attention whatever only_cross_attention says, as UNetMidBlock2DCrossAttn does.
        mid = "cross" if "cross_attention_dim" in config else "self"
        mid = mid if fields.flag("add_attention", True) else ""
        texts = any(kind.startswith("cross") for kind in (*down, mid, *up))
        heads = _heads(fields, config, channels)
        added = config.get("addition_embed_type") == "text_time"
        return cls(
            in_channels=fields.whole("in_channels", MOST_CHANNELS),
            out_channels=fields.whole("out_channels", MOST_CHANNELS),
            block_out_channels=channels,
            layers_per_block=fields.per_block("layers_per_block", blocks, 16, 2),
            heads=heads,
            depth=fields.per_block("transformer_layers_per_block", blocks, 32, 1),
            attention_down=tuple(down),
            attention_mid=mid,
            attention_up=tuple(up),
            cross_attention_dim=fields.whole("cross_attention_dim", MOST_CHANNELS) if texts else 0,
            use_linear_projection=fields.flag("use_linear_projection", False),
            norm_num_groups=groups,
            norm_eps=fields.number("norm_eps", 1e-12, 1, 1e-5),
            flip_sin_to_cos=fields.flag("flip_sin_to_cos", True),
            freq_shift=fields.number("freq_shift", 0, 1, 0),
            sample_size=_sample_size(fields, config),
            labels=fields.count("num_class_embeds", 1_000_000),
            added_inputs=fields.whole("projection_class_embeddings_input_dim", MOST_CHANNELS) if added else 0,
            size_width=fields.whole("addition_time_embed_dim", MOST_CHANNELS) if added else 0,
        )


def _alone(kind: str, only_cross: bool) -> str:
    return "cross alone" if kind == "cross" and only_cross else kind


def _heads(fields: ConfigFields, config: Mapping[str, Any], channels: tuple[int, ...]) -> tuple[int, ...]:
    """Attention heads of each stage; UNet2DModel's config has their width, the other's their number."""
    if "cross_attention_dim" in config:
        heads = fields.per_block("attention_head_dim", len(channels), MOST_CHANNELS, 8)
        for width, count in zip(channels, heads, strict=True):
            fields.divides(count, [width])
        return heads
    if config.get("attention_head_dim", 8) is None:
        return (1,) * len(channels)
    width = fields.whole("attention_head_dim", MOST_CHANNELS, 8)
    for each in channels:
        fields.divides(width, [each])
    return tuple(each // width for each in channels)


def _sample_size(fields: ConfigFields, config: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of the latents that the UNet was trained on.

    diffusers before 0.9 wrote 32 into the configs of models of 64; its StableDiffusionPipeline takes 64 for
    every single smaller number of theirs.
    """
    size = fields.pair("sample_size", 4096, 64)
    version = re.match(r"(\d{1,9})\.(\d{1,9})", str(config.get("_diffusers_version")))
    old = version is not None and (int(version[1]), int(version[2])) < (0, 9)
    return (64, 64) if old and isinstance(config.get("sample_size"), int) and size[0] < 64 else size


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
        fields = ConfigFields(config, "text encoder")
        fields.only({"hidden_act": ("gelu", "quick_gelu")})
        width = fields.whole("hidden_size", MOST_CHANNELS, 512)
        heads = fields.whole("num_attention_heads", MOST_CHANNELS, 8)
        fields.divides(heads, [width])
        return cls(
            vocab_size=fields.whole("vocab_size", 1_000_000, 49408),
            hidden_size=width,
            intermediate_size=fields.whole("intermediate_size", 8 * MOST_CHANNELS, 2048),
            num_hidden_layers=fields.whole("num_hidden_layers", MOST_LAYERS, 12),
            num_attention_heads=heads,
            max_position_embeddings=fields.whole("max_position_embeddings", 10_000, 77),
            hidden_act=str(config.get("hidden_act", "quick_gelu")),
            layer_norm_eps=fields.number("layer_norm_eps", 1e-12, 1, 1e-5),
        )


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """AutoencoderKL's and VQModel's fields. Latents are ``scaling_factor`` times what the encoder gives.

    ``codes`` is how many entries the codebook has, each of ``code_width`` numbers, as a latent position has;
    0 for AutoencoderKL.

    Where VQModel's config.json names no scale, it is 1, as in the latent diffusion paper's models (ddpm.py of
    CompVis/latent-diffusion: ``scale_factor``). diffusers' class has 0.18215, with which LDMPipeline spoils
    the pictures of CompVis/ldm-celebahq-256 (huggingface/diffusers#6725).
    """

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
    codes: int = 0
    code_width: int = 0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> VAEConfig:
        """Reads a VAE's config.json.

        Raises:
            CheckpointError: a field is missing or malformed, or asks for a network that sdgen does not have.
        """
        fields = ConfigFields(config, "VAE")
        channels, groups = _widths(fields)
        fields.only(
            {
                "act_fn": ("silu", "swish"),
                "latents_mean": (None,),
                "lookup_from_codebook": (False,),
                "norm_type": ("group",),
                "latents_std": (None,),
                "down_block_types": (["DownEncoderBlock2D"] * len(channels),),
                "up_block_types": (["UpDecoderBlock2D"] * len(channels),),
            }
        )
        quantised = config.get("_class_name") == "VQModel"
        latent = fields.whole("latent_channels", MOST_CHANNELS, 3 if quantised else 4)
        width = latent if config.get("vq_embed_dim") is None else fields.whole("vq_embed_dim", MOST_CHANNELS)
        return cls(
            in_channels=fields.whole("in_channels", MOST_CHANNELS, 3),
            out_channels=fields.whole("out_channels", MOST_CHANNELS, 3),
            latent_channels=latent,
            block_out_channels=channels,
            layers_per_block=fields.whole("layers_per_block", 16, 1),
            norm_num_groups=groups,
            mid_block_add_attention=fields.flag("mid_block_add_attention", True),
            use_quant_conv=fields.flag("use_quant_conv", True),
            use_post_quant_conv=fields.flag("use_post_quant_conv", True),
            scaling_factor=fields.number("scaling_factor", 1e-6, 1e6, 1.0 if quantised else 0.18215),
            shift_factor=fields.number("shift_factor", -1e6, 1e6, 0),
            codes=fields.whole("num_vq_embeddings", 1 << 20, 256) if quantised else 0,
            code_width=width if quantised else 0,
        )

    def scaled(self, sample: Any) -> Any:
        """The UNet's latents of what the encoder gives, of any shape: an array's or a tensor's values."""
        return (sample - self.shift_factor) * self.scaling_factor

    @property
    def downsampling(self) -> int:
        """Pixels per latent position, along each axis."""
        return 1 << (len(self.block_out_channels) - 1)
