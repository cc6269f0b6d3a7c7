"""The random numbers of one image: its first latents, then the noise of its steps, from its seed alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sdgen.diffusion.choices import RNGS
from sdgen.diffusion.torch_random import TorchGenerator
from sdgen.errors import InputError


class ImageNoise:
    """Standard normal noise for one image; successive draws go on in the same stream.

    Args:
        seed: 0 to 2**64 - 1.
        rng: 'philox' for NumPy's Philox with the seed as its key, or 'torch' for the noise that diffusers
            draws with ``torch.Generator("cpu").manual_seed(seed)``.

    Raises:
        InputError: there is no such rng.
    """

    def __init__(self, seed: int, rng: str) -> None:
        if rng not in RNGS:
            raise InputError(f"rng must be one of {', '.join(RNGS)}, not {rng!r}", "rng")
        self._torch = TorchGenerator(seed) if rng == "torch" else None
        self._philox = np.random.Philox(key=seed)

    def normal(self, height: int, width: int, channels: int) -> NDArray[np.float32]:
        """The next draw, float32 (height, width, channels).

        With 'torch' it is ``torch.randn((1, channels, height, width))`` with the channels moved last.
        """
        size = height * width * channels
        if self._torch is None:
            return _philox_normals(self._philox, size).reshape(height, width, channels)
        planes = self._torch.randn(size).reshape(channels, height, width)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _philox_normals(philox: np.random.Philox, size: int) -> NDArray[np.float32]:
    """Box and Muller's transform (1958) of the raw stream, float32 (size,).

    NumPy promises the same raw stream in every version, but not the same ``Generator.standard_normal``.
    """
    words = philox.random_raw(size + size % 2).reshape(2, -1)
    uniforms = (words >> np.uint64(11)) * 2.0**-53
    radius, angle = np.sqrt(-2 * np.log1p(-uniforms[0])), 2 * math.pi * uniforms[1]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size].astype(np.float32)
