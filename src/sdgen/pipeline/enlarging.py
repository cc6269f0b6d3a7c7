"""From the latents of one picture to those of a larger one, between the two passes of ``hires``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen.diffusion.noise import ImageNoise
from sdgen.errors import InputError
from sdgen.images.image import Pixels
from sdgen.pipeline.editing.init_picture import signed
from sdgen.pipeline.editing.resizing import geometry, resized
from sdgen.request import Request
from sdgen.request.upscale_methods import FILTERS

if TYPE_CHECKING:
    from sdgen.networks.config import VAEConfig
    from sdgen.pipeline.decoding import PictureDecoder
    from sdgen.pipeline.enlarging_models import EnlargingModels
    from sdgen.pipeline.picture_encoding import PictureEncoder

Array = np.ndarray[Any, np.dtype[np.float32]]

PixelMethod = Callable[[Pixels, int, int], Pixels]
"""Enlarges uint8 (height, width, 3) to a width and a height."""

LATENTS = "latents"
PIXEL_METHODS: Mapping[str, PixelMethod] = {
    name: functools.partial(resized, resize="fill", method=name) for name in FILTERS
}
"""Methods, by their names in ``request.hires_fields.HIRES_METHODS``, that enlarge the picture itself."""


class Enlarger:
    """Enlarges one picture's latents at a time.

    Args:
        decoder, encoder: of pictures.
        vae: their configuration, which says how latents are scaled.
        models: enlarge pictures, for the methods that do so by a model; None where there are none.
    """

    def __init__(
        self,
        decoder: PictureDecoder,
        encoder: PictureEncoder,
        vae: VAEConfig,
        models: EnlargingModels | None = None,
    ) -> None:
        self._decoder, self._encoder, self._vae, self._models = decoder, encoder, vae, models

    def __call__(self, latents: Array, request: Request, noise: ImageNoise) -> Array:
        """The latents of the larger picture, cut where the two sizes differ in their proportions.

        Args:
            latents: float32 (height, width, channels).
            request: resolved; its ``hires_method`` enlarges them to its ``picture_size``.
            noise: the picture's, from which a method that encodes draws the posterior's sample.

        Returns:
            float32 (height / downsampling, width / downsampling, channels); NaN where the picture cannot be
            decoded or is of one colour, as its decoder then says again.

        Raises:
            ImageError: the larger picture cannot be encoded, or a model makes none.
            SdgenError: such a model cannot be loaded.
        """
        method, size = request.hires_method, request.picture_size
        assert size is not None
        width, height = (side // self._vae.downsampling for side in size)
        if method == LATENTS:
            return _enlarged(latents, width, height)
        sample = noise.normal(height, width, latents.shape[-1])
        pixels, _ = self._decoder(latents[None])
        if pixels is None:
            return np.full_like(sample, np.nan)
        if method in PIXEL_METHODS:
            large = PIXEL_METHODS[method](pixels, *size)
        elif self._models is not None:
            large = resized(self._models(pixels, request), *size, "fill")
        else:
            raise InputError(f"hires_method {method} is not for this engine; take lanczos", "hires_method")
        mean, deviation = self._encoder(signed(large[None]))
        return np.asarray(self._vae.scaled(mean[0] + deviation[0] * sample), np.float32)


def _enlarged(latents: Array, width: int, height: int) -> Array:
    """Latents enlarged linearly: ``torch.nn.functional.interpolate(mode="bilinear")``, A1111's "Latent"."""
    from PIL import Image

    rows, columns, channels = latents.shape
    part = geometry((columns, rows), (width, height), "fill").part
    planes = (Image.fromarray(np.ascontiguousarray(latents[..., i])) for i in range(channels))
    large = [plane.resize((width, height), Image.Resampling.BILINEAR, box=part) for plane in planes]
    return np.stack([np.asarray(plane, np.float32) for plane in large], -1)
