"""A trial of methods that enlarge pictures: what each makes of one, and how near that is to the original.

The usual one starts from the original: it is made smaller by bicubic interpolation with antialiasing,
enlarged again, and compared with what it was.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdgen.errors import ImageError, InputError
from sdgen.images import crops, methods_sheet, metrics
from sdgen.images.crops import Square
from sdgen.images.metrics import Pixels
from sdgen.pipeline.editing.compositing import over
from sdgen.request import Picture
from sdgen.request.pictures import read_picture
from sdgen.text.printable import printable

if TYPE_CHECKING:
    from sdgen.images.image import Image

LEAST_CROP, MOST_CROP = 160, 256
"""Pixels of the side of a crop that nobody chose, where the picture has them: half its shorter side."""

_BEHIND = "white"
"""What transparent pixels are compared before, and shown."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One picture to enlarge.

    Attributes:
        file: of the picture.
        picture: that is enlarged, or, where ``shrinks``, the original.
        scale: how many times as wide and high it becomes.
        shrinks: whether the picture is made smaller first, cut to a multiple of the scale at the right and
            at the bottom.
        reference: what the results are compared with: the original; None where there is none.
        place: of the crops, in the enlarged picture.
        whole: the picture as it is on a sheet, uint8 (height, width, 3).
    """

    file: Path
    picture: Picture
    scale: int
    shrinks: bool
    reference: Picture | None
    place: Square
    whole: Pixels

    @property
    def name(self) -> str:
        """Of the picture, as messages have it."""
        return printable(str(self.file))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the enlarged picture."""
        return _enlarged_size(self.picture, self.scale, self.shrinks)

    def start(self) -> Picture:
        """The picture that the methods get."""
        if not self.shrinks:
            return self.picture
        from PIL import Image

        width, height = self.size
        original = Image.fromarray(_cut(_shown(self.picture), self.size))
        # Pillow's filters grow with what they make smaller: that is the antialiasing.
        small = original.resize((width // self.scale, height // self.scale), Image.Resampling.BICUBIC)
        return read_picture(small, "init_image")

    def original(self) -> Pixels | None:
        """What the results are compared with, uint8 (height, width, 3)."""
        return None if self.reference is None else _cut(_shown(self.reference), self.size)


@dataclasses.dataclass(frozen=True)
class Result:
    """What a method made of one picture.

    Attributes:
        trial: the picture.
        method: its name.
        model: what it draws with.
        crop: uint8 (side, side, 3); None where it made nothing.
        psnr: of the whole picture, dB; infinite where it is the original.
        ssim: of the whole picture.
        seconds: it took.
        settings: the fields of the request.
        error: why it made nothing, a sentence.

    ``psnr`` and ``ssim`` are None where there is no original, ``ssim`` also of tiny pictures.
    """

    trial: Trial
    method: str
    model: str
    crop: Pixels | None = None
    psnr: float | None = None
    ssim: float | None = None
    seconds: float | None = None
    settings: Mapping[str, Any] | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As ``--json`` and the file of figures have it; a PSNR that is infinite is None."""
        width, height = self.trial.size
        return {
            "image": os.fspath(self.trial.file),
            "method": self.method,
            "model": self.model,
            "scale": self.trial.scale,
            "width": width,
            "height": height,
            "psnr": None if self.psnr is None or math.isinf(self.psnr) else round(self.psnr, 4),
            "ssim": None if self.ssim is None else round(self.ssim, 6),
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "error": self.error,
        }


def prepare(
    file: Path, scale: int, shrinks: bool = False, reference: Path | None = None, crop: Square | None = None
) -> Trial:
    """Read a picture and decide where to look.

    Args:
        file: the picture.
        scale: how many times as wide and high it is to become.
        shrinks: the picture is the original, and is made smaller first.
        reference: the original, where the picture is what was made of it.
        crop: where to look, in the enlarged picture; by default where the original, or without one the
            picture, shows the most.

    Raises:
        InputError: a picture cannot be read, has another size than the original says, or is smaller than the
            crop.
    """
    name = printable(str(file))
    picture = read_picture(file, "init_image")
    if shrinks and min(picture.width, picture.height) < scale:
        raise InputError(f"{name} is {picture.width}x{picture.height}, too small to be shrunk by {scale}")
    size = _enlarged_size(picture, scale, shrinks)
    known = picture if shrinks else None
    if reference is not None:
        known = read_picture(reference, "reference")
        if (known.width, known.height) != size:
            raise InputError(
                f"{printable(str(reference))} is {known.width}x{known.height}, and {name} times {scale} is "
                f"{size[0]}x{size[1]}; give the original that it was made of"
            )
    if crop is not None and (crop.x + crop.side > size[0] or crop.y + crop.side > size[1]):
        raise InputError(
            f"the crop {crop.x},{crop.y},{crop.side} is not within {name}, which becomes {size[0]}x{size[1]}"
        )
    pixels = _shown(picture if known is None else known)
    if known is not None:
        pixels = _cut(pixels, size)
    place = crop or _place(pixels, size, 1 if known is not None else scale)
    return Trial(file, picture, scale, shrinks, known, place, methods_sheet.shrunk(pixels, place.side))


def measure(trial: Trial, method: str, model: str, image: Image) -> Result:
    """What an image that a method drew shows, and how near it is to the original.

    Raises:
        ImageError: there is no picture, or it has another size.
    """
    if image.pixels is None:
        raise image.error or ImageError("it could not be drawn")
    pixels = image.pixels if image.pixels.shape[2] == 3 else over(image.pixels, _BEHIND)
    height, width = pixels.shape[:2]
    if (width, height) != trial.size:
        wanted = "x".join(map(str, trial.size))
        raise ImageError(f"{method} made {width}x{height} of {trial.name} in place of {wanted}")
    original = trial.original()
    return Result(
        trial,
        method,
        model,
        trial.place.of(pixels),
        None if original is None else metrics.psnr(original, pixels),
        None if original is None else metrics.ssim(original, pixels),
        image.seconds,
        image.request.to_dict(),
    )


def _enlarged_size(picture: Picture, scale: int, shrinks: bool) -> tuple[int, int]:
    if shrinks:
        return picture.width // scale * scale, picture.height // scale * scale
    return picture.width * scale, picture.height * scale


def _shown(picture: Picture) -> Pixels:
    """The pixels before white, uint8 (height, width, 3)."""
    pixels = picture.pixels()
    return over(pixels, _BEHIND) if picture.alpha else pixels[..., :3]


def _cut(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    return pixels[: size[1], : size[0]]


def _place(pixels: Pixels, size: tuple[int, int], factor: int) -> Square:
    """Where a picture shows the most, in the picture ``factor`` times as large, of ``size``."""
    shorter = min(size)
    side = min(shorter, max(LEAST_CROP, min(MOST_CROP, shorter // 2)))
    return crops.most_detailed(pixels, max(1, side // factor)).times(factor)
