"""The fields of a request that repaints a part of a picture, or goes on beyond its edges. All are sparse."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

from sdgen.errors import InputError
from sdgen.request.bounds import MAX_SIZE
from sdgen.request.fields import entry
from sdgen.request.kinds import Kind, Real, Whole, YesNo
from sdgen.request.pictures import Picture, PictureKind

MASKS = ("mask", "mask_alpha", "outpaint")
"""The fields that say what is repainted; a masked request has one of them."""

MASK_BLUR = 4.0
"""Pixels; AUTOMATIC1111's default."""

MAX_BLUR = 256
MAX_PERCENT = 400
"""The most that outpainting adds on one side, in percent of the picture's width or height."""

MAX_ZOOM_OUT = 1 + 2 * MAX_PERCENT // 100

SAME_PROPORTIONS = 0.01
"""The largest relative difference between a mask's ratio of width to height and the picture's."""

BLACK_MASK = (
    "the mask is black throughout, so nothing is repainted; paint white what is to be, or turn it round with "
    "mask_invert"
)

_BORDER = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*(%|px)?", re.ASCII)


class Borders(Kind):
    """What is added on the left, top, right and bottom: pixels, or shares of the side with %.

    "128,0,128,0", "25%,0,25%,0", or one for all four, as text or as a sequence of four numbers.
    """

    noun, json = "four borders", "string"

    def check(self, field: str, value: Any) -> str:
        """As ``Kind.check``."""
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = ",".join(str(each) for each in value[:5])
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        parts = value.split(",", 4) if isinstance(value, str) else []
        parts = parts * 4 if len(parts) == 1 else parts
        matches = [_BORDER.fullmatch(part.strip()) for part in parts]
        if len(matches) != 4 or not all(matches):
            raise InputError(
                f"{field} must be left, top, right and bottom in pixels or per cent, such as 128,0,128,0 or "
                f"25%,0,25%,0, not {str(value)[:60]!r}",
                field,
            )
        borders = [_border(field, *match.groups()) for match in matches if match]
        if not any(float(border.rstrip("%")) for border in borders):
            raise InputError(f"{field} adds nothing on any side; give a border above 0", field)
        return ",".join(borders)

    def schema(self) -> dict[str, Any]:
        """As ``Kind.schema``."""
        return {"type": self.json, "pattern": r"^([0-9.]+%?,){3}[0-9.]+%?$"}


def _border(field: str, number: str, unit: str | None) -> str:
    if unit == "%":
        if float(number) > MAX_PERCENT:
            raise InputError(f"{field} adds at most {MAX_PERCENT}% to a side, not {number}%", field)
        return f"{float(number):g}%"
    if "." in number:
        raise InputError(f"{field} adds whole pixels, not {number}", field)
    if int(number) > MAX_SIZE:
        raise InputError(f"{field} adds at most {MAX_SIZE} pixels to a side, not {number}", field)
    return str(int(number))


def borders(outpaint: str, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom in pixels, of what ``Borders`` gives, around a picture of a size."""
    sides = (width, height, width, height)
    pixels = (
        round(side * float(each[:-1]) / 100) if each.endswith("%") else int(each)
        for each, side in zip(outpaint.split(","), sides, strict=True)
    )
    left, top, right, bottom = pixels
    return left, top, right, bottom


def canvas_size(picture: Picture, outpaint: str | None) -> tuple[int, int]:
    """Width and height of a picture with its borders, pixels."""
    left, top, right, bottom = borders(outpaint or "0,0,0,0", picture.width, picture.height)
    return picture.width + left + right, picture.height + top + bottom


def zoomed_out(factor: float) -> str:
    """The borders that leave a picture in the middle of one that is ``factor`` times as wide and high."""
    share = (factor - 1) / 2 * 100
    return ",".join([f"{share:g}%"] * 4)


def require_fitting(mask: Picture, picture: Picture) -> None:
    """Refuse a mask of other proportions than its picture's.

    Raises:
        InputError: it would have to be stretched.
    """
    wide = mask.width * picture.height / (mask.height * picture.width)
    # A pixel more or less comes of rounding, however small the mask is.
    pixel = 1 / min(mask.width, mask.height)
    if abs(math.log(wide)) > max(SAME_PROPORTIONS, pixel):
        raise InputError(
            f"the mask is {mask.width}x{mask.height} and the picture {picture.width}x{picture.height}; "
            "make a mask of the picture's size",
            "mask",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskFields:
    """Which part of the picture that is started from is repainted, and how it is put in its place."""

    mask: Picture | None = entry(
        None,
        PictureKind(),
        about="The picture whose white parts were repainted, and its grey ones in the later steps alone.",
        sparse=True,
        needs="init_image",
        option=("--mask",),
        section="Editing",
        metavar="FILE",
        help="Repaint where this picture is white alone; what is black stays as it is, to the bit.",
        aliases=("mask_image",),
        elsewhere=("maskedimagepath",),
    )
    mask_alpha: bool = entry(
        False,
        YesNo(),
        about="Whether what is transparent in the picture that was started from was repainted.",
        sparse=True,
        needs="init_image",
        option=("--mask-alpha/--no-mask-alpha",),
        section="Editing",
        help="Repaint what is transparent in the picture.",
    )
    mask_invert: bool = entry(
        False,
        YesNo(),
        about="Whether the mask was turned round: black was repainted.",
        sparse=True,
        needs=("mask", "mask_alpha"),
        option=("--mask-invert/--no-mask-invert",),
        section="Editing",
        help="Turn the mask round: repaint where it is black.",
        aliases=("inpainting_mask_invert",),
        title="Mask mode",
    )
    mask_blur: float = entry(
        MASK_BLUR,
        Real(0, MAX_BLUR),
        about="Width of the seam within what was repainted: standard deviation of a blur, pixels.",
        sparse=True,
        needs=MASKS,
        option=("--mask-blur",),
        section="Editing",
        metavar="PIXELS",
        help="How soft the seam is, within what is repainted. Default: 4.",
        title="Mask blur",
    )
    only_masked: int | None = entry(
        None,
        Whole(0, MAX_SIZE),
        about="Pixels around what was repainted that were drawn with it, alone; null for all the picture.",
        sparse=True,
        needs=MASKS,
        option=("--only-masked",),
        section="Editing",
        metavar="PADDING",
        help="Draw the masked part alone, at --size, with so many pixels around it, and paste it.",
        aliases=("inpaint_full_res_padding", "padding_mask_crop"),
        title="Masked area padding",
    )
    colour_match: bool = entry(
        False,
        YesNo(),
        about="Whether colours that had drifted were brought back to the picture's.",
        sparse=True,
        needs=MASKS,
        option=("--colour-match/--no-colour-match",),
        section="Editing",
        help="Bring what is repainted to the colours of the picture, as far as they drift around it.",
        aliases=("color_match",),
    )
    outpaint: str | None = entry(
        None,
        Borders(),
        about="What was added on the left, top, right and bottom: pixels, or shares of the side with %.",
        sparse=True,
        needs="init_image",
        option=("--outpaint",),
        section="Editing",
        metavar="L,T,R,B",
        help="Go on beyond the picture's edges, by so many pixels or per cent: 128,0,128,0.",
    )

    @property
    def masked(self) -> bool:
        """Whether a part of the picture is repainted, and the rest comes back as it is."""
        return self.mask is not None or self.mask_alpha or self.outpaint is not None
