"""Where the sampling loop starts in a picture that is repainted in part, and what it knows of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from sdgen.diffusion.noise import ImageNoise
from sdgen.diffusion.table import SamplerTable
from sdgen.images.image import Pixels
from sdgen.networks.config import VAEConfig
from sdgen.pipeline.batch_noise import first_noise
from sdgen.pipeline.editing import masks
from sdgen.pipeline.editing.canvas import canvas
from sdgen.pipeline.editing.init_picture import signed
from sdgen.request import Request

Array = np.ndarray[Any, np.dtype[Any]]
Posterior = tuple[Array, Array]
"""Mean and standard deviation of latents, (height, width, channels)."""

_FIELDS = (
    *("init_image", "resize", "background", "width", "height"),
    *("mask", "mask_alpha", "mask_invert", "only_masked", "outpaint"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedStart:
    """The start of one picture; all float32 (height, width, channels).

    Attributes:
        start: where its table begins.
        latents, mask, noise: what is known, as in ``KnownLatents``.
        channels: the mask and the latents of the picture without what it repaints, which a network for
            inpainting takes; None for another.
    """

    start: Array
    latents: Array
    mask: Array
    noise: Array
    channels: Array | None


class MaskedStarter:
    """Makes the starts of pictures that are repainted in part, as diffusers' StableDiffusionInpaintPipeline.

    Unlike there, a latent pixel is repainted where any pixel of it is, and greys in the later rows alone.

    Args:
        encode: from pixels, float32 (height, width, 3) of -1 to 1, to the posterior.
        vae: its configuration.
        inpaints: whether the network is one for inpainting: it takes the mask and what is not repainted.
    """

    def __init__(self, encode: Callable[[Array], Posterior], vae: VAEConfig, inpaints: bool) -> None:
        self._encode, self._vae, self._inpaints = encode, vae, inpaints
        self._last: tuple[Any, _Parts] | None = None

    def __call__(self, request: Request, table: SamplerTable, noise: ImageNoise) -> MaskedStart:
        """The start of a resolved request; its first draws are made in the reference's order.

        With 4 channels: a sample of the picture's posterior, the noise, a sample that is not used. With more:
        the same, the last being of what is not repainted, and the first only below strength 1.

        Raises:
            ImageError: a picture has changed, cannot be encoded, or its mask repaints nothing.
        """
        parts = self._parts(request)
        whole = request.strength == 1
        shape = (*parts.mask.shape[:2], self._vae.latent_channels)
        latents = np.zeros(shape, np.float32)
        if not (self._inpaints and whole):
            latents = self._sample(parts.picture(), noise)
        elif ((parts.mask > 0) & (parts.mask < 1)).any():
            latents = self._vae.scaled(parts.picture()[0])
        normal = first_noise(request, noise, shape)
        start = table.alpha_in[0] * latents + table.sigma_in[0] * normal
        if whole:
            start = table.init_scale * normal
        channels = None
        mask = parts.mask
        if self._inpaints:
            hidden = (mask > 0).astype(np.float32)
            channels = np.concatenate([hidden, self._sample(parts.rest(), noise)], -1)
            # What is black is drawn with the rest, as the network is used to, and pasted over.
            mask = np.where(mask > 0, mask, np.float32(1))
        else:
            noise.normal(*shape)
        return MaskedStart(start.astype(np.float32), latents, mask, normal, channels)

    def _sample(self, posterior: Posterior, noise: ImageNoise) -> Array:
        mean, deviation = posterior
        return np.asarray(self._vae.scaled(mean + deviation * noise.normal(*mean.shape)), np.float32)

    def _parts(self, request: Request) -> _Parts:
        of = tuple(getattr(request, name) for name in _FIELDS)
        if self._last is None or self._last[0] != of:
            made = canvas(request)
            mask = made.drawn_mask()
            self._last = of, _Parts(self._encode, made.drawn_on(), mask, self._vae.downsampling)
        return self._last[1]


class _Parts:
    """A picture, its mask and what the mask leaves, each encoded once, when it is first asked for."""

    def __init__(
        self, encode: Callable[[Array], Posterior], pixels: Pixels, mask: Array, factor: int
    ) -> None:
        self._encode, self._hidden = encode, mask > 0
        self._pixels = signed(pixels)
        self.mask = masks.latent_mask(mask, factor)
        self._found: dict[str, Posterior] = {}

    def picture(self) -> Posterior:
        """The posterior of the picture."""
        if "picture" not in self._found:
            self._found["picture"] = self._encode(self._pixels)
        return self._found["picture"]

    def rest(self) -> Posterior:
        """The posterior of what is not repainted, the rest of it grey."""
        if "rest" not in self._found:
            self._found["rest"] = self._encode(np.where(self._hidden[..., None], np.float32(0), self._pixels))
        return self._found["rest"]
