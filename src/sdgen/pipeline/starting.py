"""Where the sampling loop starts: at noise, or at the latents of a picture with noise mixed in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen.diffusion.noise import ImageNoise
from sdgen.diffusion.table import SamplerTable
from sdgen.pipeline.batch_noise import first_noise
from sdgen.pipeline.conditioning import Conditioning, KnownLatents
from sdgen.pipeline.editing.init_picture import init_pixels, signed
from sdgen.pipeline.latent_upscale_start import LatentUpscaleStarter
from sdgen.pipeline.masked_start import MaskedStarter
from sdgen.pipeline.prompt_encoding import split_pooled
from sdgen.pipeline.upscale_start import UpscaledStart, UpscaleStarter
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.networks.config import VAEConfig
    from sdgen.pipeline.picture_encoding import PictureEncoder

Array = np.ndarray[Any, np.dtype[np.float32]]
Shape = tuple[int, int, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """What a batch starts from.

    Attributes:
        latents: float32 (batch, height, width, channels), where the tables begin.
        known: what of the pictures is given, where some of it is.
        channels: further input channels, for a network that has them; see ``Conditioning``.
        labels: int32 (batch,), noise levels, for a network that is told them.
        noise: float32 (width,), embedding of the noise on all pictures, for a network that takes it before
            the pooled text vector.
    """

    latents: Array
    known: KnownLatents | None = None
    channels: Array | None = None
    labels: np.ndarray[Any, np.dtype[np.int32]] | None = None
    noise: Array | None = None

    def conditioning(self, context: Array | None, guidance: Array | None) -> Conditioning:
        """What the batch is drawn under, with its text and its guidance."""
        copies = 1 if guidance is None else 2
        labels = None if self.labels is None else np.tile(self.labels, copies)
        pooled = None
        if self.noise is not None and context is not None:
            context, pooled = split_pooled(context)
            pooled = np.concatenate([np.tile(self.noise, (len(pooled), 1)), pooled], axis=1)
        return Conditioning(
            context, guidance, pooled, labels=labels, channels=self.channels, known=self.known
        )


class Starter:
    """Makes the start of a batch.

    Args:
        encoder: of pictures.
        vae: its configuration, which says how latents are scaled.
        inpaints: whether the network is one for inpainting, with further input channels.
        timesteps: that the network was trained on.
        upscaled: makes the starts of pictures that are enlarged, for a network that enlarges them.
    """

    def __init__(
        self,
        encoder: PictureEncoder,
        vae: VAEConfig,
        inpaints: bool = False,
        timesteps: int = 1000,
        upscaled: UpscaleStarter | LatentUpscaleStarter | None = None,
    ) -> None:
        self._encoder, self._vae, self._timesteps, self._upscaled = encoder, vae, timesteps, upscaled
        self._starter_of_masked = MaskedStarter(self._encoded, vae, inpaints)
        self._last: tuple[Any, tuple[Array, Array]] | None = None

    def __call__(
        self,
        requests: Sequence[Request],
        tables: Sequence[SamplerTable],
        noises: Sequence[ImageNoise],
        shape: Shape,
    ) -> Start:
        """The start of each request's table.

        Args:
            requests: resolved, of one size.
            tables: theirs.
            noises: theirs; each picture takes the first draws of its own, in the reference's order.
            shape: of one image's latents: height, width, channels.

        Raises:
            ImageError: a picture has changed since it was asked for, or cannot be encoded.
        """
        triples = zip(requests, tables, noises, strict=True)
        if requests[0].masked:
            return self._masked(triples)
        if self._upscaled is not None:
            return _together([self._upscaled(*each, shape) for each in triples])
        return Start(np.asarray([self._one(*each, shape) for each in triples], np.float32))

    def _masked(self, triples: Iterable[tuple[Request, SamplerTable, ImageNoise]]) -> Start:
        """The start of pictures that are repainted in part."""
        parts = [self._starter_of_masked(*each) for each in triples]
        start, latents, mask, noise = (
            np.stack([getattr(part, name) for part in parts])
            for name in ("start", "latents", "mask", "noise")
        )
        channels = [part.channels for part in parts if part.channels is not None]
        known = KnownLatents(latents, mask, noise, self._timesteps)
        return Start(start, known, np.stack(channels) if channels else None)

    def _encoded(self, pixels: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the latents of pixels (height, width, 3), -1 to 1."""
        mean, deviation = self._encoder(pixels[None])
        return mean[0], deviation[0]

    def _one(self, request: Request, table: SamplerTable, noise: ImageNoise, shape: Shape) -> Array:
        """Noise alone, or as diffusers' StableDiffusionImg2ImgPipeline begins: alpha latents + sigma noise.

        The latents are a sample of the encoder's posterior; it is drawn before the noise.
        """
        if request.init_image is None:
            return np.asarray(table.init_scale * first_noise(request, noise, shape), np.float32)
        mean, deviation = self._posterior(request)
        latents = self._vae.scaled(mean + deviation * noise.normal(*shape))
        begun = first_noise(request, noise, shape)
        return np.asarray(table.alpha_in[0] * latents + table.sigma_in[0] * begun, np.float32)

    def _posterior(self, request: Request) -> tuple[Array, Array]:
        """Mean and standard deviation of the latents of a request's picture, (height, width, channels)."""
        assert request.init_image is not None
        of = (request.init_image, request.resize, request.background, request.width, request.height)
        if self._last is None or self._last[0] != of:
            self._last = of, self._encoded(signed(init_pixels(request)))
        return self._last[1]


def _together(starts: Sequence[UpscaledStart]) -> Start:
    latents, channels = (
        np.stack([getattr(start, name) for start in starts]) for name in ("latents", "channels")
    )
    found = [start.label for start in starts if start.label is not None]
    labels = np.asarray(found, np.int32) if found else None
    return Start(latents, channels=channels, labels=labels, noise=starts[0].noise)
