"""Stable Diffusion's networks at full size with random weights: what can be measured without a download.

``sdgen bench`` alone takes these names. No command that writes pictures does, so that noise never stands
in for a model.
"""

from __future__ import annotations

import math
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen.checkpoints import Checkpoint, Component
from sdgen.checkpoints.families import SD1, SD2
from sdgen.checkpoints.tensors import Array, LazyTensor, Shape, Tensors
from sdgen.models import Entry

if TYPE_CHECKING:
    from sdgen.networks.layers import Layer

_CROSS, _PLAIN = "CrossAttn{}Block2D", "{}Block2D"
_BLOCKS = (_CROSS, _CROSS, _CROSS, _PLAIN)

_UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "down_block_types": [block.format("Down") for block in _BLOCKS],
    "up_block_types": [block.format("Up") for block in _BLOCKS[::-1]],
}
_VAE = {
    "latent_channels": 4,
    "out_channels": 3,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
_SD1_UNET = {"attention_head_dim": 8, "cross_attention_dim": 768, "use_linear_projection": False}
_SD2_UNET = {
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
_SD1_TEXT = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
_SD2_TEXT = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
}
_ARCHITECTURES = {
    "random-sd1.5": (SD1, _UNET | _SD1_UNET, _SD1_TEXT, _VAE),
    "random-sd2.1": (SD2, _UNET | _SD2_UNET, _SD2_TEXT, _VAE),
}


def configurations(name: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The config.json of the UNet, the text encoder and the VAE."""
    family, unet, text_encoder, vae = _ARCHITECTURES[name]
    reference = family.configs
    return (
        {**reference["unet"], **unet},
        {**reference["text_encoder"], **text_encoder},
        {**reference["vae"], **vae},
    )


def open_random(name: str) -> Checkpoint:
    """The checkpoint of a random model; each tensor is drawn when it is read, the same every time.

    Weights are uniform with variance 1 / inputs, norms are the identity and biases 0, so that activations
    stay near 1 whatever the depth.
    """
    from sdgen.networks.attention import scaled_dot_product
    from sdgen.networks.config import TextEncoderConfig, UNetConfig, VAEConfig
    from sdgen.networks.layers import Numerics
    from sdgen.networks.text_encoder import TextEncoder
    from sdgen.networks.unet import UNet
    from sdgen.networks.vae import Decoder, Encoder

    numerics = Numerics("float32", "float32", "direct", scaled_dot_product)
    unet, text_encoder, vae = configurations(name)
    family, vae_config = _ARCHITECTURES[name][0], VAEConfig.from_config(vae)
    networks: dict[str, tuple[dict[str, Any], list[Layer]]] = {
        "unet": (unet, [UNet(UNetConfig.from_config(unet), numerics)]),
        "text_encoder": (text_encoder, [TextEncoder(TextEncoderConfig.from_config(text_encoder), numerics)]),
        "vae": (vae, [Encoder(vae_config, numerics), Decoder(vae_config, numerics)]),
    }
    return Checkpoint(
        name=name,
        family=family,
        components={
            part: Component(config, _tensors(layers), (), f"{name}'s random weights")
            for part, (config, layers) in networks.items()
        },
        tokenizers=family.packaged_tokenizers(),
        scheduler=family.scheduler,
        source=name,
        changes=(f"random weights of {name}",),
    )


def entry(name: str) -> Entry:
    """What the catalogue would say of a random model."""
    return Entry(name, summary=f"the shapes of {name.removeprefix('random-')}, random weights", size=512)


def _tensors(networks: list[Layer]) -> Tensors:
    parameters = (parameter for network in networks for parameter in network.parameters())
    shapes = {name: shape for parameter in parameters for name, shape in parameter.sources.items()}
    return Tensors(
        {
            name: LazyTensor(shape, np.dtype(np.float32), partial(_draw, name, shape))
            for name, shape in shapes.items()
        }
    )


def _draw(name: str, shape: Shape) -> Array:
    if len(shape) == 1:
        return np.full(shape, float("norm" in name and name.endswith(".weight")), np.float32)
    inputs = math.prod(shape[1:])
    generator = np.random.Generator(np.random.SFC64(zlib.crc32(name.encode())))
    values = generator.random(shape, np.float32)
    values -= 0.5
    values *= math.sqrt(12 / inputs)
    return values
