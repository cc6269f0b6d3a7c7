"""A decoder as one linear map: what latents look like, in a thousandth of the time that a VAE takes.

It is an estimate for whoever watches denoising, never a picture that is stored as drawn.
"""

from __future__ import annotations

import dataclasses
import functools
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from sdgen.checkpoints.families.family import Config

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DATA = "sdgen.checkpoints.families"


@dataclasses.dataclass(frozen=True, eq=False)
class LinearDecoder:
    """Pixels as a linear function of the latents around them.

    Attributes:
        weights: float32 (side² channels + 1, factor² 3). The rows are those of the ``side`` by ``side``
            latent positions around a position, row by row, channels last, and a constant; the columns are
            the colours, -1 to 1, of the ``factor`` by ``factor`` pixels there, row by row, red green blue.
        channels: of the latents, scaled as the UNet sees them.
        side: odd.
        factor: pixels per latent position, along each axis.
    """

    weights: NDArray[np.float32]
    channels: int
    side: int = 1
    factor: int = 1

    def __call__(self, latents: NDArray[Any]) -> NDArray[np.uint8]:
        """Colours of latents.

        Args:
            latents: floats (height, width, channels); what is not finite is black.

        Returns:
            uint8 (factor height, factor width, 3).
        """
        height, width, _ = latents.shape
        with np.errstate(all="ignore"):  # Latents that have overflown.
            colours = np.nan_to_num(neighbourhoods(latents, self.side) @ self.weights, nan=-1.0)
        pixels = np.rint((np.clip(colours, -1, 1) + 1) * 127.5).astype(np.uint8)
        blocks = pixels.reshape(height, width, self.factor, self.factor, 3).swapaxes(1, 2)
        found: NDArray[np.uint8] = blocks.reshape(height * self.factor, width * self.factor, 3)
        return found


def neighbourhoods(latents: NDArray[Any], side: int) -> NDArray[np.float32]:
    """The latents around each position and a constant 1, float32 (height width, side² channels + 1).

    Beyond the edge, the edge is repeated.
    """
    height, width, channels = latents.shape
    reach = side // 2
    padded = np.pad(latents.astype(np.float32), ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    rows = np.ones((height, width, side * side * channels + 1), np.float32)
    for place in range(side * side):
        top, left = divmod(place, side)
        columns = slice(place * channels, (place + 1) * channels)
        rows[..., columns] = padded[top : top + height, left : left + width]
    return rows.reshape(height * width, -1)


def linear_decoder(vae: Config) -> LinearDecoder | None:
    """The linear decoder of the latents of a VAE, told by its configuration; None where none is known."""
    if vae.get("_class_name") == "VQModel":
        return None
    return _KNOWN.get((vae.get("latent_channels", 4), vae.get("scaling_factor", 0.18215)), _unknown)()


@functools.cache
def _stable_diffusion() -> LinearDecoder:
    """Stable Diffusion 1 and 2 (one latent space), fitted by its users.

    Source: InvokeAI, invokeai/app/util/step_callback.py, SD1_5_LATENT_RGB_FACTORS (Apache 2.0); the idea is
    Kevin Turner's (discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204).
    """
    return _of_colours(
        (0.3444, 0.1385, 0.0670),
        (0.1247, 0.4027, 0.1494),
        (-0.3192, 0.2513, 0.2103),
        (-0.1307, -0.1874, -0.7445),
    )


@functools.cache
def _mini() -> LinearDecoder:
    """The bundled model's, fitted by training/linear_decoder.py."""
    with resources.files(_DATA).joinpath("data/sd_mini_linear_decoder.npy").open("rb") as file:
        weights = np.load(file, allow_pickle=False).astype(np.float32)
    return LinearDecoder(weights, channels=8, side=3, factor=8)


def _of_colours(*channels: tuple[float, float, float]) -> LinearDecoder:
    """One colour for each channel, and no constant."""
    return LinearDecoder(np.asarray([*channels, (0, 0, 0)], np.float32), len(channels))


def _unknown() -> None:
    return None


_KNOWN = {(4, 0.18215): _stable_diffusion, (8, 1.0): _mini}
"""Decoders by latent channels and scaling factor: these two tell today's latent spaces apart."""
