"""keras_cv's StableDiffusionV2 on the networks of this package."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import keras
import keras_cv
import numpy as np

from sdgen.pipeline.model_networks import Networks

if TYPE_CHECKING:
    from sdgen.pipeline.keras_models import DecoderModel, EncoderModel, TextEncoderModel, UNetModel
    from sdgen.text.token_rows import Tokenizer


class StableDiffusion(keras_cv.models.StableDiffusionV2):  # type: ignore[misc]
    """``keras_cv.models.StableDiffusionV2`` with networks read from a checkpoint of any supported format.

    Overrides the properties that keras_cv documents as overridable, so that keras_cv's own
    ``text_to_image`` runs on the networks that sdgen's pipeline runs on.

    Args:
        networks: what it computes with.
        width, height: of the images, in pixels; multiples of 8.
    """

    def __init__(self, networks: Networks, width: int, height: int) -> None:
        # keras_cv prints its licence notice for weights that are not used here, and rounds sizes to 128.
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(height, width, jit_compile=True)
        self.img_height, self.img_width = height, width
        self.networks = networks

    @property
    def diffusion_model(self) -> UNetModel:
        """The UNet."""
        return self.networks.diffusion_model

    @property
    def text_encoder(self) -> TextEncoderModel:
        """The text encoder."""
        return self.networks.text_encoder

    @property
    def decoder(self) -> DecoderModel:
        """The VAE's decoder."""
        return self.networks.decoder

    @property
    def image_encoder(self) -> EncoderModel:
        """The VAE's encoder."""
        return self.networks.image_encoder

    @property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer."""
        return self.networks.checkpoint.tokenizer

    def encode_text(self, prompt: str) -> Any:
        """(1, 77, width) encoding of a prompt, padded as the checkpoint's tokenizer says."""
        tokens = np.asarray([self.tokenizer.encode_row(prompt)[0]], np.int32)
        return self.text_encoder.predict_on_batch({"tokens": tokens, "positions": self._get_pos_ids()})

    def _get_unconditional_context(self) -> Any:
        return self.encode_text("")

    def _get_timestep_embedding(
        self, timestep: Any, batch_size: int, dim: int | None = None, max_period: int = 10000
    ) -> Any:
        width = self.networks.unet_config.block_out_channels[0]
        return super()._get_timestep_embedding(timestep, batch_size, dim or width, max_period)

    def _get_initial_diffusion_noise(self, batch_size: int, seed: int | None) -> Any:
        vae = self.networks.vae_config
        size = (self.img_height // vae.downsampling, self.img_width // vae.downsampling)
        return keras.random.normal((batch_size, *size, vae.latent_channels), seed=seed)
