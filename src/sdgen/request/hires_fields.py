"""The fields of a request whose picture is enlarged and refined, or drawn in windows. All are sparse."""

from __future__ import annotations

import dataclasses
import numbers
import re
from collections.abc import Mapping
from typing import Any

from sdgen.errors import InputError
from sdgen.request.bounds import MAX_SIZE, MAX_STEPS
from sdgen.request.fields import entry
from sdgen.request.kinds import Kind, OneOf, Real, Whole, YesNo
from sdgen.request.upscale_methods import MODELS

HIRES_METHODS: Mapping[str, str] = {
    "lanczos": "the picture by Lanczos' filter, then encoded again",
    "bicubic": "the picture by the bicubic filter, which is softer, then encoded again",
    "latents": "its latents by linear interpolation; needs more strength",
    **{name: f"the picture by {method.model}, then encoded again" for name, method in MODELS.items()},
}
"""How a picture is enlarged between its two passes, with a line about each."""

MAX_FACTOR = 8
FACTOR_MULTIPLE = 64
"""Pixels; a factor gives the nearest size of this multiple, which every model draws."""

_FACTOR = re.compile(r"([0-9]{1,2}(?:\.[0-9]{1,6})?)\s*[xX×]?", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,5})\s*[xX×]\s*([0-9]{1,5})", re.ASCII)


class Enlargement(Kind):
    """A factor, "2", or a size in pixels, "1536x1024"; a number is a factor, too."""

    noun, json = "a factor or a size", "string"

    def check(self, field: str, value: Any) -> str:
        """As ``Kind.check``."""
        if not isinstance(value, bool) and isinstance(value, numbers.Real):
            value = f"{float(value):g}"
        if not isinstance(value, str):
            raise InputError(f"{field} must be a factor such as 2 or a size such as 1536x1024", field)
        if size := _SIZE.fullmatch(value.strip()):
            width, height = int(size[1]), int(size[2])
            if not 8 <= min(width, height) <= max(width, height) <= MAX_SIZE:
                raise InputError(f"{field} must be 8 to {MAX_SIZE} pixels each way, not {value}", field)
            return f"{width}x{height}"
        factor = _FACTOR.fullmatch(value.strip())
        if factor is None:
            raise InputError(
                f"{field} must be a factor such as 2 or a size such as 1536x1024, not {value[:40]!r}", field
            )
        if not 1 < float(factor[1]) <= MAX_FACTOR:
            raise InputError(f"{field} must be above 1 and at most {MAX_FACTOR}, not {factor[1]}", field)
        return f"{float(factor[1]):g}"

    def schema(self) -> dict[str, Any]:
        """As ``Kind.schema``."""
        return {"type": self.json, "pattern": r"^([0-9]+x[0-9]+|[0-9]+(\.[0-9]+)?)$"}


def enlarged(size: tuple[int, int], hires: str) -> tuple[int, int]:
    """Width and height of a picture of ``size``, pixels, after ``hires``, as ``Enlargement`` gives it."""
    if "x" in hires:
        width, _, height = hires.partition("x")
        return int(width), int(height)
    scaled = (round(side * float(hires) / FACTOR_MULTIPLE) * FACTOR_MULTIPLE for side in size)
    wide, high = (max(FACTOR_MULTIPLE, side) for side in scaled)
    return wide, high


@dataclasses.dataclass(frozen=True, kw_only=True)
class HiresFields:
    """A second pass over an enlarged picture, and windows in which a large one is drawn."""

    hires: str | None = entry(
        None,
        Enlargement(),
        about="The size, or the factor, to which the picture was enlarged and then refined.",
        sparse=True,
        option=("--hires",),
        section="Editing",
        metavar="FACTOR|WxH",
        help="Draw at --size, then enlarge to this and refine: 2, or 1536x1024.",
        aliases=("hr_scale",),
        elsewhere=("hiresresize",),
        title="Hires upscale",
    )
    hires_strength: float | None = entry(
        None,
        Real(0, 1),
        about="Denoising strength of the second pass: the share of its steps that was run.",
        sparse=True,
        needs="hires",
        option=("--hires-strength",),
        section="Editing",
        metavar="SHARE",
        help="How much of the enlarged picture to draw anew, 0 to 1. Default: 0.4; 0.6 for latents.",
    )
    hires_steps: int | None = entry(
        None,
        Whole(1, MAX_STEPS),
        about="Steps of the second pass, of which its strength is the share that was run; null for as many "
        "as the first has.",
        sparse=True,
        needs="hires",
        option=("--hires-steps",),
        section="Editing",
        metavar="N",
        help="Steps of which --hires-strength is the share. Default: --steps.",
        aliases=("hr_second_pass_steps",),
        title="Hires steps",
    )
    hires_method: str = entry(
        "lanczos",
        OneOf(HIRES_METHODS),
        about="How the picture was enlarged between its two passes.",
        sparse=True,
        needs="hires",
        option=("--hires-method",),
        section="Editing",
        help=f"How it is enlarged: {', '.join(HIRES_METHODS)}. Default: lanczos.",
        aliases=("hr_upscaler",),
        title="Hires upscaler",
    )
    tiles: bool = entry(
        False,
        YesNo(),
        about="Whether what is larger than the model's size was drawn in overlapping windows of it.",
        sparse=True,
        option=("--tiles/--no-tiles",),
        section="Editing",
        help="Draw what is larger than the model's size in overlapping windows of that size: less memory.",
    )
    """Averaged at every step (``pipeline.tiled_evaluation``)."""
