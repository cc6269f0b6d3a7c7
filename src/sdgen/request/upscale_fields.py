"""The fields of a request that enlarges a picture. All are sparse.

Such a request has the picture as ``init_image``, and what enlarges it as ``model``. Its ``width`` and
``height`` are the model's to say: of what it draws, before what was added to the picture to be drawn is cut
off; None for a method that draws nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from sdgen.errors import InputError
from sdgen.files.picture_files import MOST_PIXELS
from sdgen.request.bounds import MAX_ENLARGED, MAX_UPSCALE
from sdgen.request.fields import entry
from sdgen.request.kinds import Whole
from sdgen.request.pictures import Picture

MAX_NOISE_LEVEL = 350
"""Of diffusers' StableDiffusionUpscalePipeline."""

MEANINGLESS = ("strength", "resize", "seamless", "mask", "mask_alpha", "outpaint", "hires")
"""Fields that mean nothing where a picture is enlarged: it is the whole picture, and as it is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpscaleFields:
    """By how much a picture is enlarged."""

    upscale: int | None = entry(
        None,
        Whole(2, MAX_UPSCALE),
        about="How many times as wide and high the picture was made that was started from.",
        sparse=True,
        needs="init_image",
    )
    noise_level: int | None = entry(
        None,
        Whole(0, MAX_NOISE_LEVEL),
        about="Noise that was put on the picture before it was enlarged: a timestep of the model's schedule.",
        sparse=True,
        needs="upscale",
    )
    """The higher, the less the model is bound by the picture (conditioning augmentation, Ho et al. 2022,
    section 4). Of models that were trained with it alone."""


def enlarged_whole(picture: Picture, upscale: int) -> tuple[int, int]:
    """Width and height of a picture that is enlarged, pixels."""
    return picture.width * upscale, picture.height * upscale


def require_enlargeable(
    picture: Picture, upscale: int, value: Callable[[str], Any], default: Callable[[str], Any]
) -> None:
    """Refuse what cannot be enlarged so much, or goes together with something else.

    Args:
        picture: that is enlarged.
        upscale: how many times.
        value, default: of a field of the request.

    Raises:
        InputError: a field is set that means nothing here, or the picture becomes too large.
    """
    for name in MEANINGLESS:
        if value(name) != default(name):
            raise InputError(
                f"{name} means nothing with upscale, which enlarges the whole picture; give one of them",
                name,
            )
    width, height = enlarged_whole(picture, upscale)
    if max(width, height) > MAX_ENLARGED or width * height > MOST_PIXELS:
        raise InputError(
            f"upscale {upscale} makes {width}x{height} of {picture.width}x{picture.height}; the most is "
            f"{MAX_ENLARGED} pixels a side and {MOST_PIXELS // 1_000_000} million in all",
            "upscale",
        )
