"""A picture decoded by tiles that are blended where they overlap: any size in the memory of a small one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sdgen.backend.program import Program
from sdgen.images.image import Pixels
from sdgen.pipeline.windows import profile, starts

if TYPE_CHECKING:
    from sdgen.networks.layers import Tensor, Weights
    from sdgen.networks.vae import Decoder

TILE = 512
"""Side of a tile, pixels; the decoder takes 1 GB for it in float32."""

SAMPLE = 1024
"""Side of the sample that the statistics of the norms are those of, pixels. It is computed by rows."""

OVERLAP = 0.25
"""Share of a tile that its neighbour covers, at least. What its edges do to it reaches less far."""

Array = NDArray[np.float32]


class TiledDecoder:
    """Decodes by ``networks.vae_tiles``.

    Args:
        network: the decoder.
        weights: its parameters' values, or such as arrive later.
    """

    def __init__(self, network: Decoder, weights: Any) -> None:
        self._network, self._factor = network, network.config.downsampling
        # In XLA alone TensorFlow updates parts of a map in place, and a tile takes no more than it needs.
        self._tile = Program(self._decode_tile, weights, jit=True)
        self._moments = Program(self._sample_moments, weights, jit=True)

    def __call__(self, latents: Any) -> tuple[Pixels, bool]:
        """Pixels, uint8 (height, width, 3) with an axis of 1 before, and whether all values are finite.

        ``latents`` is float32 (1, height / factor, width / factor, channels).
        """
        from sdgen.networks.vae_tiles import sampled

        values = np.asarray(latents)
        rows, columns = (sampled(side, SAMPLE // self._factor) for side in values.shape[1:3])
        moments = self._moments(values[:, rows][:, :, columns])

        def decode(part: Array) -> Array:
            found: Array = np.asarray(self._tile(part[None], moments))[0]
            return found

        pixels, finite = blended(decode, values[0], TILE // self._factor, self._factor)
        return pixels[None], finite

    def _decode_tile(self, weights: Weights, latents: Tensor, moments: list[Tensor]) -> Tensor:
        from sdgen.networks.vae_tiles import decode_tile

        return decode_tile(self._network, weights, latents, moments)

    def _sample_moments(self, weights: Weights, latents: Tensor) -> list[Tensor]:
        from sdgen.networks.vae_tiles import decoder_moments

        return decoder_moments(self._network, weights, latents)


def blended(decode: Callable[[Array], Array], latents: Array, tile: int, factor: int) -> tuple[Pixels, bool]:
    """A picture of which a tile is decoded at a time; tiles weigh most in their middles.

    Args:
        decode: latents (rows, columns, channels) to pixels (factor rows, factor columns, 3) of -1 to 1.
        latents: of the picture, float32 (height, width, channels).
        tile: side of a tile, in latent positions.
        factor: pixels per latent position, along each axis.

    Returns:
        uint8 (factor height, factor width, 3), and whether all values are finite.
    """
    height, width = latents.shape[:2]
    rows, columns = min(tile, height), min(tile, width)
    tops, lefts = starts(height, rows, overlap=OVERLAP), starts(width, columns, overlap=OVERLAP)
    down, across = _shares(tops, rows, height, factor), _shares(lefts, columns, width, factor)
    pixels = np.empty((height * factor, width * factor, 3), np.uint8)
    band, finite = np.zeros((rows * factor, width * factor, 3), np.float32), True
    for top, below, share in zip(tops, [*tops[1:], height], down, strict=True):
        for left, beside in zip(lefts, across, strict=True):
            part = decode(latents[top : top + rows, left : left + columns])
            finite = finite and bool(np.isfinite(part).all())
            where = slice(left * factor, (left + columns) * factor)
            band[:, where] += share[:, None, None] * beside[:, None] * part
        done = (below - top) * factor
        with np.errstate(invalid="ignore"):  # What is not finite is an error, and nobody sees it.
            levels = np.round(np.clip(band[:done] / 2 + 0.5, 0, 1) * 255)
            pixels[top * factor : below * factor] = levels.astype(np.uint8)
        band = np.concatenate([band[done:], np.zeros_like(band[:done])])
    return pixels, finite


def _shares(begin: NDArray[np.int32], length: int, side: int, factor: int) -> list[Array]:
    """The weights of each tile along one side, a number a pixel of it; those of all tiles add up to 1."""
    weights = profile(length * factor)
    total = np.zeros(side * factor)
    parts = [slice(start * factor, (start + length) * factor) for start in begin]
    for part in parts:
        total[part] += weights
    return [(weights / total[part]).astype(np.float32) for part in parts]
