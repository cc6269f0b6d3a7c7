"""Networks of Stable Diffusion 1, 2, XL and the x4 upscaler at small widths, with weights made from names.

What diffusers and transformers compute with them is in small_networks.npz (make_small_networks.py);
``python small_networks.py BACKEND FILE`` writes what sdgen computes.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from inputs import normal, picture, thinned

Array = np.ndarray

_UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "norm_num_groups": 8,
    "cross_attention_dim": 24,
}
UNETS: Mapping[str, dict[str, Any]] = {
    "unet-sd1": _UNET | {"attention_head_dim": 4, "use_linear_projection": False},
    "unet-sd2": _UNET | {"attention_head_dim": [2, 4], "use_linear_projection": True},
    "unet-sdxl": _UNET
    | {
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": [2, 4],
        "transformer_layers_per_block": [1, 2],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 16,
        "projection_class_embeddings_input_dim": 20 + 6 * 16,
    },
    "unet-labels": _UNET
    | {"in_channels": 7, "attention_head_dim": 4, "use_linear_projection": True, "num_class_embeds": 10},
    "unet-x4-upscaler": _UNET
    | {
        "in_channels": 7,
        "attention_head_dim": 4,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "use_linear_projection": True,
        "num_class_embeds": 10,
        "only_cross_attention": [True, False],
    },
    "unet-cross-alone": _UNET | {"attention_head_dim": 4, "only_cross_attention": True},
}
UNETS_WITHOUT_TEXT: Mapping[str, dict[str, Any]] = {
    "unet-ldm-sr": {
        "in_channels": 6,
        "out_channels": 3,
        "block_out_channels": [16, 32, 48],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D", "DownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
        "norm_num_groups": 8,
        "attention_head_dim": 16,
    },
}
"""Of diffusers' UNet2DModel."""

_K_UNET = {
    "in_channels": 8,
    "out_channels": 5,
    "act_fn": "gelu",
    "attention_head_dim": 16,
    "block_out_channels": [32, 32, 64, 64],
    "layers_per_block": 2,
    "conv_in_kernel": 1,
    "conv_out_kernel": 1,
    "cross_attention_dim": 24,
    "down_block_types": ["KDownBlock2D", *["KCrossAttnDownBlock2D"] * 3],
    "mid_block_type": None,
    "up_block_types": [*["KCrossAttnUpBlock2D"] * 3, "KUpBlock2D"],
    "norm_num_groups": None,
    "resnet_time_scale_shift": "scale_shift",
    "time_cond_proj_dim": 20,
    "time_embedding_type": "fourier",
    "timestep_post_act": "gelu",
}
K_UNETS: Mapping[str, dict[str, Any]] = {
    "unet-x2-upscaler": _K_UNET,
    "unet-k-without-vectors": _K_UNET
    | {
        "block_out_channels": [64, 32, 128, 128],
        "layers_per_block": [1, 2, 3, 1],
        "down_block_types": ["KCrossAttnDownBlock2D", "KDownBlock2D", *["KCrossAttnDownBlock2D"] * 2],
        "up_block_types": ["KCrossAttnUpBlock2D", "KCrossAttnUpBlock2D", "KUpBlock2D", "KCrossAttnUpBlock2D"],
        "time_cond_proj_dim": None,
        "flip_sin_to_cos": False,
    },
}
"""Of diffusers' UNet2DConditionModel with K blocks; the last channel that they give is not looked at."""

ALL_UNETS = {**UNETS, **UNETS_WITHOUT_TEXT, **K_UNETS}

_TEXT = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 12,
}
TEXT_ENCODERS: Mapping[str, dict[str, Any]] = {
    "text-sd1": _TEXT | {"hidden_act": "quick_gelu"},
    "text-sd2": _TEXT | {"hidden_act": "gelu"},
}
LDM_BERTS: Mapping[str, dict[str, Any]] = {
    "text-ldm": {
        "vocab_size": 50,
        "max_position_embeddings": 12,
        "encoder_layers": 3,
        "encoder_ffn_dim": 64,
        "encoder_attention_heads": 2,
        "head_dim": 12,
        "d_model": 32,
    },
}
_VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [16, 32, 48],
    "layers_per_block": 2,
    "norm_num_groups": 8,
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
}
VAES: Mapping[str, dict[str, Any]] = {
    "vae": _VAE | {"scaling_factor": 0.18215},
    "vae-plain": _VAE
    | {
        "layers_per_block": 1,
        "mid_block_add_attention": False,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    },
}
VQ_MODELS: Mapping[str, dict[str, Any]] = {
    "vq": {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 3,
        "vq_embed_dim": 3,
        "num_vq_embeddings": 40,
        "block_out_channels": [16, 32, 48],
        "layers_per_block": 2,
        "norm_num_groups": 8,
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
        "scaling_factor": 1.0,
    },
}
TIMESTEPS = np.asarray([981.0, 412.0], np.float32)
K_TIMESTEPS = np.asarray([0.67, -0.31], np.float32)
TOKENS = np.asarray([[49, 3, 7, 1, 48, 0, 0, 0, 0, 0, 0, 0]], np.int32)
LABELS = np.asarray([9, 2], np.int32)
SIZES = np.asarray([[512, 768, 0, 8, 512, 768], [1024, 1024, 16, 0, 1024, 1024]], np.float32)


def latents(name: str) -> Array:
    """What a UNet is given: (2, 16, 8, in_channels), or of K blocks (2, 16, 24, in_channels)."""
    width = 24 if name in K_UNETS else 8
    return normal(1, 2, 16, width, ALL_UNETS[name]["in_channels"])


def codes() -> Array:
    """Latents for decoders with a codebook: (1, 6, 5, 3)."""
    return normal(4, 1, 6, 5, 3)


def context() -> Array:
    """Text encodings: (2, 5, 24)."""
    return normal(2, 2, 5, 24)


def pooled() -> Array:
    """Pooled text vectors: (2, 20)."""
    return normal(3, 2, 20)


def pixels() -> Array:
    """A picture for the encoders: (1, 24, 40, 3), -1 to 1."""
    return picture(24, 40)[None]


def weight(name: str, shape: tuple[int, ...]) -> Array:
    """The value of a parameter, by its reference name."""
    values = normal(zlib.crc32(name.encode()), *shape)
    if len(shape) == 1:
        return values * 0.1 + float("norm" in name and name.endswith("weight"))
    return values / np.float32(np.sqrt(np.prod(shape[1:])))


def values_of(network: Any) -> dict[str, Any]:
    """Values for the parameters of an sdgen network."""
    weights = {}
    for parameter in network.parameters():
        arrays = [weight(name, shape) for name, shape in parameter.sources.items()]
        arrays = [array.reshape(array.shape[: len(parameter.axes)]) for array in arrays]
        weights[parameter.name] = np.empty(parameter.shape, np.float32)
        parameter.fill(weights[parameter.name], [array.transpose(parameter.axes) for array in arrays])
    return weights


def vae_latents() -> Array:
    """Latents for the decoders: (1, 6, 10, 4)."""
    return normal(4, 1, 6, 10, 4)


WRAPS = ("x", "y", "xy")
"""Axes on which pictures join themselves."""

WRAPPED = tuple(
    f"{name}, {wrap} wraps" for name in ("unet-sd2", "vae encoder", "vae decoder") for wrap in WRAPS
)


def _vae(name: str, wrap: str = "") -> dict[str, Array]:
    """What a VAE's two halves compute, whole and by rows: (1, 6, 10, 8) and (1, 24, 40, 3), thinned.

    The encoder gives means and log variances, side by side.
    """
    from sdgen.backend import ops
    from sdgen.backend.program import Program
    from sdgen.networks import feature_rows
    from sdgen.networks.config import VAEConfig
    from sdgen.networks.vae import Decoder, Encoder
    from sdgen.networks.vae_rows import decode_by_rows, encode_by_rows
    from sdgen.networks.vae_tiles import decode_tile, decoder_moments

    config = VAEConfig.from_config(VAES[name])
    encoder, decoder = Encoder(config, _numerics(wrap)), Decoder(config, _numerics(wrap))

    def by_one_tile(weights: Any, latents: Any) -> Any:
        return decode_tile(decoder, weights, latents, decoder_moments(decoder, weights, latents))

    ways = {
        "encoder": lambda w, x: ops.concatenate(encoder.posterior(w, x), axis=-1),
        "encoder by rows": lambda w, x: ops.concatenate(encode_by_rows(encoder, w, x), axis=-1),
        "decoder": lambda w, x: decoder(w, x * config.scaling_factor),
        "decoder by rows": lambda w, x: decode_by_rows(decoder, w, x * config.scaling_factor),
        "decoder by tiles": lambda w, x: by_one_tile(w, x * config.scaling_factor),
    }
    found = {}
    with mock.patch.object(feature_rows, "MOST_VALUES", 1 << 11):  # A few rows at a time.
        for way, function in ways.items():
            network, given = (encoder, pixels()) if "encoder" in way else (decoder, vae_latents())
            # As the product has it for one; TensorFlow's other ways give the numbers sooner.
            xla = " by " in way and name == "vae" and not wrap
            program = Program(function, values_of(network), jit=xla or None)
            found[f"{name} {way}"] = thinned(np.asarray(program(given)), MOST)
    return found


MOST = 1000
"""Values that are kept of what a VAE computes."""


def _numerics(wrap: str = "") -> Any:
    from sdgen.networks.attention import scaled_dot_product
    from sdgen.networks.layers import Numerics

    return Numerics("float32", "float32", "direct", scaled_dot_product, wrap)


def _prediction(name: str, wrap: str = "") -> Array:
    """What a UNet predicts for ``latents``."""
    from sdgen.backend.program import Program
    from sdgen.networks.config import UNetConfig
    from sdgen.networks.unet_networks import unet_network

    unet = unet_network(UNetConfig.from_config(ALL_UNETS[name]), _numerics(wrap))
    timesteps = K_TIMESTEPS if name in K_UNETS else TIMESTEPS
    vectors: dict[str, Array] = {}
    if unet.config.labels:
        vectors["labels"] = LABELS
    if unet.config.added_inputs:
        vectors |= {"pooled": pooled(), "sizes": SIZES}
    if unet.config.condition_width:
        vectors["pooled"] = pooled()

    def predict(weights: Any, x: Any, text: Any, vectors: Any) -> Any:
        shifts = unet.embed_timesteps(weights, timesteps[None], vectors)[0]
        return unet.denoise(weights, x, shifts, unet.project_context(weights, text))

    return np.asarray(Program(predict, values_of(unet), jit=None)(latents(name), context(), vectors))


def _encoding(name: str) -> Array:
    """What a text encoder makes of ``TOKENS``, (1, 12, 32)."""
    from sdgen.backend.program import Program
    from sdgen.networks.config import TextEncoderConfig
    from sdgen.networks.ldm_bert import LDMBert, LDMBertConfig
    from sdgen.networks.text_encoder import TextEncoder

    encoder: Any = (
        LDMBert(LDMBertConfig.from_config(LDM_BERTS[name]), _numerics())
        if name in LDM_BERTS
        else TextEncoder(TextEncoderConfig.from_config(TEXT_ENCODERS[name]), _numerics())
    )

    def encode(weights: Any, tokens: Any) -> Any:
        return encoder.encode(weights, encoder.embed(weights, tokens))

    return np.asarray(Program(encode, values_of(encoder), jit=None)(TOKENS))


def _decoded_codes(name: str) -> Array:
    """The picture of ``codes()``, (1, 24, 20, 3)."""
    from sdgen.backend.program import Program
    from sdgen.networks.config import VAEConfig
    from sdgen.networks.vae import Decoder

    config = VAEConfig.from_config({**VQ_MODELS[name], "_class_name": "VQModel"})
    decoder = Decoder(config, _numerics())
    return np.asarray(Program(decoder, values_of(decoder), jit=None)(codes()))


def outputs() -> dict[str, Array]:
    """What sdgen's networks compute on the active backend."""
    found = {name: _prediction(name) for name in ALL_UNETS}
    found |= {name: _encoding(name) for name in (*TEXT_ENCODERS, *LDM_BERTS)}
    found |= {name: _decoded_codes(name) for name in VQ_MODELS}
    for name in VAES:
        found |= _vae(name)
    for wrap in WRAPS:
        found[f"unet-sd2, {wrap} wraps"] = _prediction("unet-sd2", wrap)
        found |= {f"{name}, {wrap} wraps": values for name, values in _vae("vae", wrap).items()}
    return found


if __name__ == "__main__":
    from sdgen import backend

    backend.activate(sys.argv[1])
    np.savez(sys.argv[2], **outputs())
