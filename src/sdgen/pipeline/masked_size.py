"""The size in which a picture is drawn that is repainted in part or goes on beyond its edges."""

from __future__ import annotations

import functools

from sdgen.errors import InputError
from sdgen.files.picture_files import MOST_PIXELS
from sdgen.pipeline.editing import masks
from sdgen.request import MAX_SIZE, Picture, Request


def filled_for_mask(request: Request, multiple: int, native: tuple[int, int]) -> Request:
    """A masked request with the size in which it is drawn, where that follows from the picture.

    Without a size the picture is not resized: it is drawn on a canvas of the multiple above and cut out
    again, so that no pixel is lost. Nor is it with ``only_masked``: its part is drawn in the model's size.

    Args:
        request: ``masked``; its width and height, and what is None else, may still be open.
        multiple: of width and height.
        native: width and height that the model was trained with.

    Raises:
        InputError: the request's size is not for its picture, or too large, or other fields are against it.
    """
    if request.hires:
        raise InputError("hires enlarges what is drawn whole; leave it out, or the mask", "hires")
    if request.mask is not None and request.mask_alpha:
        raise InputError("mask and mask_alpha both say what is repainted; give one of them", "mask_alpha")
    if request.outpaint is None:
        _require_white(request)
    stored = _canvas(request)
    if stored[0] * stored[1] > MOST_PIXELS:
        raise InputError(
            f"the picture comes to {stored[0]}x{stored[1]}, more than {MOST_PIXELS} pixels; add less to it",
            "outpaint",
        )
    if request.seamless and (request.only_masked is not None or any(side % multiple for side in stored)):
        raise InputError(
            f"a picture joins itself where it is drawn as a whole, in multiples of {multiple} pixels; leave "
            "out seamless or only_masked, or give a picture of such a size",
            "seamless",
        )
    if request.only_masked is not None:
        if request.resize != "fill":
            raise InputError(
                f"with only_masked the picture keeps its size; leave out resize {request.resize}", "resize"
            )
        return request.replace(width=request.width or native[0], height=request.height or native[1])
    if request.width is None and request.height is None:
        width, height = (-(-side // multiple) * multiple for side in stored)
        if max(width, height) > MAX_SIZE:
            raise InputError(
                f"a picture of {stored[0]}x{stored[1]} is too large to be drawn at once, the most being "
                f"{MAX_SIZE} pixels each way; draw its masked part with --only-masked 32, or give --size",
                "only_masked",
            )
        return request.replace(width=width, height=height, resize="none")
    if request.resize == "none":
        _require_room(request, stored, multiple)
    elif request.outpaint is not None:
        raise InputError(
            "the size follows from the picture and what outpaint adds; leave it out, or give only_masked",
            "outpaint",
        )
    return request


def _require_white(request: Request) -> None:
    """Refuse a mask that repaints nothing.

    Raises:
        InputError: it does, or its file is gone or shows something else.
    """
    assert request.init_image is not None
    if not _repaints(request.init_image, request.mask, request.mask_invert):
        way = "is white throughout and turned round" if request.mask_invert else "is black throughout"
        of = "mask" if request.mask else "mask of the picture's transparency"
        raise InputError(f"the {of} {way}, so nothing is repainted; paint white what is to be", "mask")


@functools.lru_cache(256)
def _repaints(picture: Picture, mask: Picture | None, invert: bool) -> bool:
    found = masks.mask_of_alpha(picture.pixels()) if mask is None else masks.mask_of_picture(mask.pixels())
    return bool((found < 1).any() if invert else found.any())


def _canvas(request: Request) -> tuple[int, int]:
    """Width and height of the picture with its borders, pixels."""
    size = request.replace(resize="none").stored_size
    assert size is not None
    return size


def _require_room(request: Request, stored: tuple[int, int], multiple: int) -> None:
    """Refuse a size that is not the next one for a picture that is not resized.

    Raises:
        InputError: it is another.
    """
    for side, drawn in zip(stored, (request.width, request.height), strict=True):
        if drawn is not None and not side <= drawn < side + multiple:
            raise InputError(
                f"the picture comes to {stored[0]}x{stored[1]} and {request.width}x{request.height} is to be "
                "drawn; leave the size out, or give another --resize",
                "resize",
            )
