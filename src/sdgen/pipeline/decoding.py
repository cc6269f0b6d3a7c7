"""From latents to the pixels of a picture, and whether they are a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen import backend
from sdgen.backend import ops
from sdgen.backend.program import Program
from sdgen.errors import ImageError
from sdgen.images.image import Pixels
from sdgen.pipeline.tiled_decoding import TILE, TiledDecoder

if TYPE_CHECKING:
    from sdgen.networks.layers import Tensor, Weights
    from sdgen.pipeline.model_networks import Networks
    from sdgen.pipeline.seamless_networks import SeamlessNetworks

WHOLE = 1024 * 1024
"""Pixels of the largest picture that is decoded as a whole; a larger one is decoded by rows.

Stable Diffusion's decoder then takes 4 GB in float32 (docs/performance.md). The limit is not set by the
memory that happens to be free, so that a picture is computed in one way wherever it is drawn again.
"""

WHOLE_IN_LOW_MEMORY = 512 * 512


class PictureDecoder:
    """The VAE's decoder, compiled, for one picture at a time.

    Args:
        networks: whose decoder.
        jit: ``Program``'s, for pictures that are decoded as a whole.
        low_memory: decode by rows from a smaller size on.
        enlarges: the model enlarges pictures: what is larger than a tile is decoded by tiles, since even its
            latents are many, and XLA compiles all of it, which takes less memory than TensorFlow's graph
            runtime; a picture may be of one colour, as the one that was given.
    """

    def __init__(
        self, networks: Networks | SeamlessNetworks, jit: bool, low_memory: bool, enlarges: bool = False
    ) -> None:
        self._dtype, self._device = networks.dtype, networks.device
        self._network, self._factor = networks.decoder.network, networks.vae_config.downsampling
        self._whole = TILE**2 if enlarges else WHOLE_IN_LOW_MEMORY if low_memory else WHOLE
        weights = networks.decoder.arriving
        # TensorFlow updates parts of a map in place in XLA alone.
        self._programs = {
            "whole": Program(self._decode, weights, jit or enlarges),
            "rows": Program(self._decode_rows, weights, jit=True),
        }
        self._tiled = TiledDecoder(self._network, weights) if enlarges else None

    def way(self, height: int, width: int) -> str:
        """How latents of a size are decoded: "whole", by "rows" or by "tiles".

        See ``networks.vae_rows`` and ``networks.vae_tiles``.
        """
        if height * width * self._factor**2 <= self._whole:
            return "whole"
        return "rows" if self._tiled is None else "tiles"

    def __call__(self, latents: Any) -> tuple[Pixels | None, ImageError | None]:
        """The pixels of latents (1, height, width, channels), or why there are none.

        Pixels are uint8 (factor height, factor width, 3).
        """
        if not np.isfinite(latents).all():
            return None, ImageError(f"the latents became non-finite in {self._dtype}; {_advice(self._dtype)}")
        with backend.on_device(self._device):
            pixels, finite = self._decoded(latents)
        if not np.asarray(finite):
            return None, ImageError(
                f"the decoder's values became non-finite in {self._dtype}; {_advice(self._dtype)}"
            )
        found: Pixels = np.asarray(pixels)[0]
        return checked(found, self._dtype) if self._tiled is None else (found, None)

    def _decoded(self, latents: Any) -> tuple[Any, Any]:
        way = self.way(*latents.shape[1:3])
        if way == "tiles" and self._tiled is not None:
            return self._tiled(latents)
        return self._programs[way](latents)  # type: ignore[no-any-return]

    def compile(self, height: int, width: int, channels: int) -> None:
        """Compile for latents of a size."""
        with backend.on_device(self._device):
            self._programs[self.way(height, width)](np.zeros((1, height, width, channels), np.float32))

    def _decode(self, weights: Weights, latents: Tensor) -> tuple[Tensor, Tensor]:
        return _rounded(self._network(weights, latents))

    def _decode_rows(self, weights: Weights, latents: Tensor) -> tuple[Tensor, Tensor]:
        from sdgen.networks.vae_rows import decode_by_rows

        return _rounded(decode_by_rows(self._network, weights, latents))


def checked(pixels: Pixels, dtype: str) -> tuple[Pixels | None, ImageError | None]:
    """The pixels, unless they are of one colour everywhere."""
    if pixels.min() == pixels.max():
        return None, ImageError(
            f"the image has one colour everywhere, as after an overflow in {dtype}; {_advice(dtype)}"
        )
    return pixels, None


def _advice(dtype: str) -> str:
    return "try another seed" if dtype == "float32" else "try --dtype float32 or another seed"


def _rounded(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 of -1 to 1, rounded as diffusers' VaeImageProcessor does, and whether all values are finite."""
    rounded = ops.round(ops.clip(pixels / 2 + 0.5, 0.0, 1.0) * 255)
    return ops.cast(rounded, "uint8"), ops.all(ops.isfinite(pixels))
