"""From the pixels of a picture to the distribution of its latents."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen import backend
from sdgen.backend import ops
from sdgen.backend.program import Program
from sdgen.errors import ImageError
from sdgen.pipeline.decoding import WHOLE, WHOLE_IN_LOW_MEMORY

if TYPE_CHECKING:
    from sdgen.networks.layers import Tensor, Weights
    from sdgen.networks.vae import Encoder
    from sdgen.pipeline.model_networks import Networks
    from sdgen.pipeline.seamless_networks import SeamlessNetworks

Array = np.ndarray[Any, np.dtype[np.float32]]


class PictureEncoder:
    """The VAE's encoder, compiled, for one picture at a time.

    Its weights are read when the first picture is encoded, so that drawing from text alone costs nothing.

    Args:
        networks: whose encoder.
        jit: ``Program``'s, for pictures that are encoded as a whole.
        low_memory: encode by rows from a smaller size on.
    """

    def __init__(self, networks: Networks | SeamlessNetworks, jit: bool, low_memory: bool) -> None:
        self._networks, self._jit, self._device = networks, jit, networks.device
        self._whole = WHOLE_IN_LOW_MEMORY if low_memory else WHOLE

    def way(self, height: int, width: int) -> str:
        """How a picture of a size, in pixels, is encoded: "whole", or by "rows" (``networks.vae_rows``)."""
        return "whole" if height * width <= self._whole else "rows"

    def __call__(self, pixels: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the latents' distribution, as the reference's ``latent_dist``.

        A sample of it is not yet scaled to the UNet's latents: these are (sample - shift_factor) *
        scaling_factor of the VAE's configuration.

        Args:
            pixels: float32 (1, height, width, 3), -1 to 1; height and width are multiples of the VAE's
                ``downsampling``.

        Returns:
            Two arrays, float32 (1, height / downsampling, width / downsampling, channels).

        Raises:
            CheckpointError: the model has no encoder, or one that does not fit its configuration.
            ImageError: the encoder's values overflow.
        """
        with backend.on_device(self._device):
            found = self._programs[self.way(*pixels.shape[1:3])](pixels)
        mean, deviation = (np.asarray(values) for values in found)
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
            dtype = self._networks.vae_dtype
            advice = "take another VAE" if dtype == "float32" else "try --dtype float32"
            raise ImageError(f"the picture's latents became non-finite in {dtype}; {advice}")
        return mean, deviation

    @cached_property
    def _programs(self) -> dict[str, Program]:
        with backend.on_device(self._device):
            model = self._networks.image_encoder
        self._network: Encoder = model.network
        # TensorFlow updates parts of a map in place in XLA alone.
        return {
            "whole": Program(self._encode, model.arriving, self._jit),
            "rows": Program(self._encode_rows, model.arriving, jit=True),
        }

    def _encode(self, weights: Weights, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return _with_deviation(*self._network.posterior(weights, pixels))

    def _encode_rows(self, weights: Weights, pixels: Tensor) -> tuple[Tensor, Tensor]:
        from sdgen.networks.vae_rows import encode_by_rows

        return _with_deviation(*encode_by_rows(self._network, weights, pixels))


def _with_deviation(mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
    return mean, ops.exp(0.5 * log_variance)
