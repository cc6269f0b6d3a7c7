"""Whether weights fit the networks that their configurations describe, found out before Keras is imported."""

from __future__ import annotations

from sdgen.checkpoints.checkpoint import Checkpoint, check_shapes
from sdgen.checkpoints.tensors import Shape
from sdgen.networks.attention import scaled_dot_product
from sdgen.networks.config import TextEncoderConfig, UNetConfig, VAEConfig
from sdgen.networks.layers import Layer, Numerics
from sdgen.networks.text_encoder import TextEncoder
from sdgen.networks.unet import UNet
from sdgen.networks.vae import Decoder

DECODER_PARTS = ("decoder.", "post_quant_conv.")
"""What the names of the VAE decoder's tensors start with."""

_ANY = Numerics("float32", "float32", "direct", scaled_dot_product)
"""Shapes do not depend on how a network computes."""


def check_weights(checkpoint: Checkpoint) -> None:
    """Check that the configurations are sound and that the weights fit them: all but the VAE's encoder.

    Raises:
        CheckpointError: they are not, or do not.
    """
    unet = UNet(UNetConfig.from_config(checkpoint.unet.config), _ANY)
    text_encoder = TextEncoder(TextEncoderConfig.from_config(checkpoint.text_encoder.config), _ANY)
    decoder = Decoder(VAEConfig.from_config(checkpoint.vae.config), _ANY)
    check_shapes(checkpoint.unet, shapes(unet))
    check_shapes(checkpoint.text_encoder, shapes(text_encoder))
    check_shapes(checkpoint.vae.only(*DECODER_PARTS), shapes(decoder))


def shapes(network: Layer) -> dict[str, Shape]:
    """Every tensor that a network is made of, by reference name, in the reference's layouts."""
    return {
        name: tuple(shape) for parameter in network.parameters() for name, shape in parameter.sources.items()
    }
