"""Where the sampling loop starts with a picture that is enlarged in its latents: at noise, beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen.diffusion.noise import ImageNoise
from sdgen.diffusion.table import SamplerTable
from sdgen.pipeline.batch_noise import first_noise
from sdgen.pipeline.editing.enlarged_picture import small_picture
from sdgen.pipeline.editing.init_picture import signed
from sdgen.pipeline.upscale_start import UpscaledStart
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.networks.config import VAEConfig
    from sdgen.pipeline.picture_encoding import PictureEncoder

Array = np.ndarray[Any, np.dtype[np.float32]]

FACTOR = 2

NO_NOISE = np.repeat(np.asarray([1, 0], np.float32), 64)
"""Embedding of the noise on the picture's latents, of which there is none: cosines and sines of 0."""


class LatentUpscaleStarter:
    """Makes the starts of pictures that are enlarged (diffusers' StableDiffusionLatentUpscalePipeline).

    Its draws come in this order: a sample of the posterior of the picture's latents, then the noise that is
    denoised. The latents stand beside it, each position four times, as they are.

    Args:
        encoder: of pictures.
        vae: its configuration, which says how latents are scaled.
    """

    def __init__(self, encoder: PictureEncoder, vae: VAEConfig) -> None:
        self._encoder, self._vae = encoder, vae

    def __call__(
        self, request: Request, table: SamplerTable, noise: ImageNoise, shape: tuple[int, int, int]
    ) -> UpscaledStart:
        """The start of a resolved request's table.

        Args:
            request: resolved.
            table: of its sampler.
            noise: its stream.
            shape: of its latents: height, width, channels.

        Raises:
            ImageError: the picture's file has gone or changed, or cannot be encoded.
        """
        pixels = signed(small_picture(request, FACTOR))
        mean, deviation = (values[0] for values in self._encoder(pixels[None]))
        small = self._vae.scaled(mean + deviation * noise.normal(*mean.shape))
        beside = np.asarray(small, np.float32).repeat(FACTOR, axis=0).repeat(FACTOR, axis=1)
        latents = np.asarray(table.init_scale * first_noise(request, noise, shape), np.float32)
        return UpscaledStart(latents, beside, None, NO_NOISE)
