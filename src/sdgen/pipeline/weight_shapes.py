"""Whether weights fit the networks that their configurations describe, found out before Keras is imported."""

from __future__ import annotations

from sdgen.checkpoints.checkpoint import Checkpoint, check_shapes
from sdgen.checkpoints.tensors import Shape
from sdgen.errors import CheckpointError
from sdgen.networks.attention import scaled_dot_product
from sdgen.networks.config import UNetConfig, VAEConfig
from sdgen.networks.layers import Layer, Numerics
from sdgen.networks.text_networks import TextConfig, text_config, text_network
from sdgen.networks.unet_networks import unet_network
from sdgen.networks.vae import Decoder, Encoder

Shapes = dict[str, Shape]
"""Shapes of tensors by the reference's names, in the reference's layouts."""

DECODER_PARTS = ("decoder.", "post_quant_conv.", "quantize.")
"""What the names of the VAE decoder's tensors start with."""

ENCODER_PARTS = ("encoder.", "quant_conv.")
"""What the names of the VAE encoder's tensors start with."""

_ANY = Numerics("float32", "float32", "direct", scaled_dot_product)
"""Shapes do not depend on how a network computes."""


def check_weights(checkpoint: Checkpoint) -> None:
    """Check that the configurations are sound and that the weights fit them: all but the VAE's encoder.

    Raises:
        CheckpointError: they are not, or do not.
    """
    unet = unet_shapes(UNetConfig.from_config(checkpoint.unet.config))
    texts = [checkpoint.text_encoder] if checkpoint.family.text else []
    text_encoders = [text_encoder_shapes(text_config(text.config)) for text in texts]
    decoder = decoder_shapes(VAEConfig.from_config(checkpoint.vae.config))
    check_shapes(checkpoint.unet, unet)
    for text, expected in zip(texts, text_encoders, strict=True):
        check_shapes(text, expected)
    check_shapes(checkpoint.vae.only(*DECODER_PARTS), decoder)


def check_picture_encoder(checkpoint: Checkpoint) -> None:
    """Check that there is a VAE encoder, by which pictures become latents, and that its weights fit.

    Raises:
        CheckpointError: there is none, or it does not fit the VAE's configuration.
    """
    part = checkpoint.vae.only(*ENCODER_PARTS)
    if not any(name.startswith("encoder.") for name in part.tensors.shapes()):
        raise CheckpointError(
            f"the VAE of {checkpoint.name} ({checkpoint.vae.source}) is a decoder alone, and a picture is "
            "turned into latents by the encoder; give a whole VAE with --vae, or take another model"
        )
    check_shapes(part, encoder_shapes(VAEConfig.from_config(checkpoint.vae.config)))


def unet_shapes(config: UNetConfig) -> Shapes:
    """Every tensor of a UNet."""
    return _shapes(unet_network(config, _ANY))


def text_encoder_shapes(config: TextConfig) -> Shapes:
    """Every tensor of a text encoder."""
    return _shapes(text_network(config, _ANY))


def decoder_shapes(config: VAEConfig) -> Shapes:
    """Every tensor of a VAE's decoder."""
    return _shapes(Decoder(config, _ANY))


def encoder_shapes(config: VAEConfig) -> Shapes:
    """Every tensor of a VAE's encoder."""
    return _shapes(Encoder(config, _ANY))


def _shapes(network: Layer) -> Shapes:
    return {
        name: tuple(shape) for parameter in network.parameters() for name, shape in parameter.sources.items()
    }
