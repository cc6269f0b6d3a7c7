"""keras_cv's StableDiffusionV2 on the networks of this package."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from functools import cached_property
from typing import TYPE_CHECKING, Any

import keras_cv

from sdgen import backend
from sdgen.checkpoints import Checkpoint, Component
from sdgen.networks.config import TextEncoderConfig, UNetConfig, VAEConfig
from sdgen.networks.layers import Numerics
from sdgen.networks.network import DecoderModel, EncoderModel, TextEncoderModel, UNetModel
from sdgen.networks.text_encoder import TextEncoder
from sdgen.networks.unet import UNet
from sdgen.networks.vae import Decoder, Encoder

if TYPE_CHECKING:
    from sdgen.tokenizer import ClipTokenizer


class StableDiffusion(keras_cv.models.StableDiffusionV2):  # type: ignore[misc]
    """``keras_cv.models.StableDiffusionV2`` with networks read from a checkpoint of any supported format.

    Overrides the properties that keras_cv documents as overridable, so that keras_cv's own
    ``text_to_image`` runs on these networks as well as sdgen's pipeline does. Each network is built when
    it is first asked for.

    Args:
        checkpoint: the weights and configurations.
        width, height: of the images, in pixels; multiples of 8.
        dtype: "float32", "bfloat16" or "float16". In float16 the VAE computes in float32, since its
            activations exceed float16's range.
        device: a name of ``backend.devices()``.
    """

    def __init__(self, checkpoint: Checkpoint, width: int, height: int, dtype: str, device: str) -> None:
        # keras_cv prints its licence notice for weights that are not used here, and rounds sizes to 128.
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(height, width, jit_compile=True)
        self.img_height, self.img_width = height, width
        self.checkpoint, self.dtype, self.device = checkpoint, dtype, device
        self.unet_config = UNetConfig.from_config(checkpoint.unet.config)
        self.text_encoder_config = TextEncoderConfig.from_config(checkpoint.text_encoder.config)
        self.vae_config = VAEConfig.from_config(checkpoint.vae.config)

    def numerics(self, dtype: str) -> Numerics:
        """How networks of ``dtype`` compute on this model's device."""
        winograd = self.device.startswith("cpu")
        return Numerics(dtype, winograd=winograd, attention=backend.attention(self.device, dtype))

    @property
    def vae_dtype(self) -> str:
        """The VAE's dtype."""
        return "float32" if self.dtype == "float16" else self.dtype

    @cached_property
    def diffusion_model(self) -> UNetModel:
        """The UNet."""
        numerics = self.numerics(self.dtype)
        return UNetModel(UNet(self.unet_config, numerics), self.checkpoint.unet, numerics)

    @cached_property
    def text_encoder(self) -> TextEncoderModel:
        """The text encoder."""
        numerics = self.numerics(self.dtype)
        layers = TextEncoder(self.text_encoder_config, numerics)
        return TextEncoderModel(layers, self.checkpoint.text_encoder, numerics)

    @cached_property
    def decoder(self) -> DecoderModel:
        """The VAE's decoder."""
        numerics = self.numerics(self.vae_dtype)
        part = _part(self.checkpoint.vae, "decoder.", "post_quant_conv.")
        return DecoderModel(Decoder(self.vae_config, numerics), part, numerics)

    @cached_property
    def image_encoder(self) -> EncoderModel:
        """The VAE's encoder."""
        numerics = self.numerics(self.vae_dtype)
        part = _part(self.checkpoint.vae, "encoder.", "quant_conv.")
        return EncoderModel(Encoder(self.vae_config, numerics), part, numerics)

    @property
    def tokenizer(self) -> ClipTokenizer:
        """The checkpoint's tokenizer."""
        return self.checkpoint.tokenizer

    def encode_text(self, prompt: str) -> Any:
        """(1, 77, width) encoding of a prompt, padded as the checkpoint's tokenizer says."""
        import numpy as np

        tokens = np.asarray([self.tokenizer.encode_row(prompt)[0]], np.int32)
        return self.text_encoder.predict_on_batch({"tokens": tokens, "positions": self._get_pos_ids()})

    def _get_unconditional_context(self) -> Any:
        return self.encode_text("")

    def _get_timestep_embedding(
        self, timestep: Any, batch_size: int, dim: int | None = None, max_period: int = 10000
    ) -> Any:
        return super()._get_timestep_embedding(
            timestep, batch_size, dim or self.unet_config.block_out_channels[0], max_period
        )


def _part(component: Component, *prefixes: str) -> Component:
    """The tensors whose names start with one of ``prefixes``."""
    tensors = component.tensors.renamed(lambda name: name if name.startswith(prefixes) else None)
    return dataclasses.replace(component, tensors=tensors)
