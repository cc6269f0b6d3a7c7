"""``Canvas``: the picture of a request for inpainting, and which part of the picture is drawn."""

from __future__ import annotations

import dataclasses

import numpy as np

from sdgen.errors import ImageError, InputError
from sdgen.images.image import Pixels
from sdgen.pipeline.editing import cropping, masks, outpainting
from sdgen.pipeline.editing.colour_matching import matched
from sdgen.pipeline.editing.compositing import over
from sdgen.pipeline.editing.cropping import Box
from sdgen.pipeline.editing.masks import Array
from sdgen.pipeline.editing.pasting import pasted
from sdgen.pipeline.editing.resizing import applied, geometry, resized
from sdgen.request import Request
from sdgen.request.mask_fields import borders

LATENT = 8
"""Pixels; where there is a choice, the edges of what is known are those of latent pixels."""


@dataclasses.dataclass(frozen=True, eq=False)
class Canvas:
    """A picture, and the part of it that is repainted.

    Attributes:
        pixels: RGBA, uint8 (height, width, 4), as they come back where they are not repainted.
        shown: the same before its background, uint8 (height, width, 3).
        mask: float32 (height, width); see ``masks``.
        soft: the mask with the edge by which what was drawn is pasted.
        box: the part that is drawn.
        size: width and height in which it is drawn.
        opaque: what is repainted becomes opaque, where the picture was not.
    """

    pixels: Pixels
    shown: Pixels
    mask: Array
    soft: Array
    box: Box
    size: tuple[int, int]
    opaque: bool

    def drawn_on(self) -> Pixels:
        """The part that is drawn, uint8 (its height, its width, 3)."""
        return resized(cropping.taken_out(self.shown, self.box), *self.size, "stretch")

    def drawn_mask(self) -> Array:
        """The mask of that part, float32 (its height, its width)."""
        width, height = self.size
        return masks.resized_mask(cropping.taken_out(self.mask, self.box), height, width)

    def with_drawn(self, drawn: Pixels, match: bool) -> Pixels:
        """The picture with what was drawn in its place, uint8 (height, width, 3), or 4 with transparency.

        Args:
            drawn: uint8 (its height, its width, 3).
            match: bring its colours back to the picture's.
        """
        left, top, right, bottom = self.box
        part = resized(drawn, right - left, bottom - top, "stretch")
        if match:
            known = cropping.taken_out(self.mask, self.box) == 0
            part = matched(part, cropping.taken_out(self.shown, self.box), known)
        whole = pasted(self.shown, cropping.put_back(self.shown, part, self.box), self.soft)
        alpha = self.pixels[..., 3]
        if self.opaque:
            alpha = np.where(self.mask > 0, np.uint8(255), alpha)
        if alpha.min() == 255:
            return whole
        kept = self.mask[..., None] == 0
        return np.dstack([np.where(kept, self.pixels[..., :3], whole), alpha])


def canvas(request: Request) -> Canvas:
    """The canvas of a resolved request that is ``masked``.

    Raises:
        ImageError: a picture has gone or changed, or the mask repaints nothing.
    """
    try:
        return _canvas(request)
    except InputError as error:
        raise ImageError(str(error)) from None


def _canvas(request: Request) -> Canvas:
    assert request.init_image is not None and request.width is not None and request.height is not None
    pixels, mask = request.init_image.pixels(), mask_of(request)
    size = (request.width, request.height)
    if request.only_masked is None and request.resize != "none":
        fitted = geometry((pixels.shape[1], pixels.shape[0]), size, request.resize)
        pixels, mask = applied(pixels, fitted), masks.applied_mask(mask, fitted)
    shown = over(pixels, request.background)
    if request.outpaint is not None:
        around = borders(request.outpaint, pixels.shape[1], pixels.shape[0])
        added = outpainting.new_part(mask.shape[0], mask.shape[1], around)
        mask = np.maximum(added, outpainting.enlarged(mask, around))
        pixels, shown = (outpainting.enlarged(each, around) for each in (pixels, shown))
        pixels[added > 0, 3] = 255
    masks.require_some(mask)
    if request.only_masked is None:
        box = _whole(mask, size, request)
    else:
        box = cropping.box_of_mask(mask, request.only_masked, *size)
    soft = masks.softened(mask, request.mask_blur)
    return Canvas(pixels, shown, mask, soft, box, size, request.mask_alpha)


def mask_of(request: Request) -> Array:
    """The mask of a request's picture, in that picture's size, float32 (height, width).

    Without a mask and ``mask_alpha`` it is 0: what is outpainted is not in it.

    Raises:
        InputError: its file is gone or shows something else.
    """
    picture = request.init_image
    assert picture is not None
    if request.mask is not None:
        mask = masks.mask_of_picture(request.mask.pixels())
        mask = masks.resized_mask(mask, picture.height, picture.width)
    elif request.mask_alpha:
        mask = masks.mask_of_alpha(picture.pixels())
    else:
        return np.zeros((picture.height, picture.width), np.float32)
    return masks.inverted(mask) if request.mask_invert else mask


def _whole(mask: Array, size: tuple[int, int], request: Request) -> Box:
    """All of a canvas, and beyond it to the size: to the right and below, and where that lets the picture
    begin with a latent pixel, to the left and above.
    """
    (width, height), (high, wide) = size, mask.shape
    assert request.init_image is not None
    starts = (0, 0)
    if request.outpaint is not None:
        starts = borders(request.outpaint, request.init_image.width, request.init_image.height)[:2]
    left, top = (
        min(-start % LATENT, room) for start, room in zip(starts, (width - wide, height - high), strict=True)
    )
    return -left, -top, width - left, height - top
