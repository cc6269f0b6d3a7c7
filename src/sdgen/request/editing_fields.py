"""The fields of a request that starts from a picture. All are sparse: text to image does without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from sdgen.request.fields import entry
from sdgen.request.kinds import Axes, Colour, OneOf, Real
from sdgen.request.pictures import Picture, PictureKind

RESIZES: Mapping[str, str] = {
    "fill": "as large as needed to fill the size, what is beyond it cut off on both sides alike",
    "fit": "as large as fits into the size, the rest filled from the edges",
    "stretch": "to the size, whatever becomes of the proportions; what diffusers does",
    "none": "as it is: a picture of another size is an error",
}
"""How a picture is brought to the size that is drawn, with a line about each."""


SEAMLESS: Mapping[str, str] = {
    "x": "left and right edges",
    "y": "top and bottom edges",
    "xy": "both",
}
"""Axes on which a picture joins itself, with what meets there."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditingFields:
    """What a picture is drawn from, beside its prompt."""

    init_image: Picture | None = entry(
        None,
        PictureKind(),
        about="The picture that was started from: its file as it was given, its size, and the sha256 of its "
        "pixels.",
        sparse=True,
        option=("--init-image",),
        section="Editing",
        metavar="FILE|DIR|GLOB",
        help="Start from this picture; - is the one on stdin. Of a folder or a pattern, each is drawn, with "
        "the prompt in the .txt beside it where there is one.",
        aliases=("image", "init_img", "init_images"),
    )
    """A path, the bytes of a file, an array or a Pillow image becomes a ``Picture``."""

    strength: float | None = entry(
        None,
        Real(0, 1),
        about="Denoising strength: the share of the steps that is run, from the picture with noise for it.",
        sparse=True,
        needs="init_image",
        option=("--strength",),
        section="Editing",
        metavar="SHARE",
        help="How much of the picture to draw anew, 0 to 1; 1 is all of it. Default: 0.8; with a mask 1.",
        aliases=("denoising_strength",),
        title="Denoising strength",
    )
    resize: str = entry(
        "fill",
        OneOf(RESIZES),
        about="How the picture that was started from was brought to the size.",
        sparse=True,
        needs="init_image",
        option=("--resize",),
        section="Editing",
        help="How it is brought to --size: fill (cuts), fit (fills up), stretch or none. Default: fill.",
        aliases=("resize_mode",),
    )
    background: str = entry(
        "white",
        Colour(),
        about="What stood behind the transparent parts of the picture that was started from.",
        sparse=True,
        needs="init_image",
        option=("--background",),
        section="Editing",
        metavar="COLOUR",
        help="What is behind its transparent parts: a name or #rrggbb. Default: white.",
    )
    seamless: str | None = entry(
        None,
        Axes(SEAMLESS),
        about="The axes on which the picture joins itself: x, y or xy.",
        sparse=True,
        option=("--seamless",),
        metavar="AXES",
        section="Picture",
        help="Have the picture join itself: x (left and right), y (top and bottom) or xy.",
        aliases=("tiling",),
        title="Tiling",
    )
    """UNet and VAE then find beyond an edge what lies at the opposite one."""
