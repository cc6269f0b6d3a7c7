"""Where the sampling loop starts with a picture that is enlarged: at noise, with the picture beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from sdgen.diffusion.noise import ImageNoise
from sdgen.diffusion.schedule import NoiseSchedule
from sdgen.diffusion.table import SamplerTable
from sdgen.pipeline.batch_noise import first_noise
from sdgen.pipeline.editing.enlarged_picture import small_picture
from sdgen.pipeline.editing.init_picture import signed
from sdgen.request import Request

Array = np.ndarray[Any, np.dtype[np.float32]]


@dataclasses.dataclass(frozen=True, eq=False)
class UpscaledStart:
    """The start of one picture.

    Attributes:
        latents: float32 (height, width, channels), noise.
        channels: float32 (height, width, 3), the small picture, -1 to 1 and, where it has noise, beyond.
        label: its noise level; None where the network is told none.
        noise: embedding of its noise, for a network that takes one beside the pooled text vector.
    """

    latents: Array
    channels: Array
    label: int | None
    noise: Array | None = None


class UpscaleStarter:
    """Makes the starts of pictures that are enlarged.

    As diffusers' StableDiffusionUpscalePipeline and LDMSuperResolutionPipeline do, and with the same draws:
    first the noise on the picture, where the network was trained with some, then the latents. The picture
    stands beside the latents as it is, whatever the sampler, as the networks were trained.
    LDMSuperResolutionPipeline scales it with the latents, which leaves next to nothing of it in the first
    steps of Euler's samplers; with DDIM, DPM-Solver and PLMS, which do not scale, the two are one.

    Args:
        low_res_scheduler: of the noise on the picture; empty where there is none.
        factor: by which the model enlarges.

    Raises:
        CheckpointError: the scheduler's config asks for what there is not.
    """

    def __init__(self, low_res_scheduler: Mapping[str, Any], factor: int) -> None:
        self._factor = factor
        self._noised = NoiseSchedule.from_config(low_res_scheduler) if low_res_scheduler else None

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
            ImageError: the picture's file has gone or changed.
        """
        picture, level = signed(small_picture(request, self._factor)), request.noise_level
        if self._noised is not None and level is not None:
            signal = np.float32(self._noised.alphas_cumprod[level])
            drawn = noise.normal(*picture.shape)
            picture = np.sqrt(signal) * picture + np.sqrt(np.float32(1) - signal) * drawn
        latents = np.asarray(table.init_scale * first_noise(request, noise, shape), np.float32)
        return UpscaledStart(latents, picture, level)
