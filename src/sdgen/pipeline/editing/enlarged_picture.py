"""A picture that a model enlarges: as the network is given it, and what of what was drawn is kept."""

from __future__ import annotations

import numpy as np

from sdgen.errors import ImageError, InputError
from sdgen.images.image import Pixels
from sdgen.pipeline.editing.compositing import over
from sdgen.pipeline.editing.resizing import resized
from sdgen.request import Request


def small_picture(request: Request, factor: int) -> Pixels:
    """A resolved request's picture before its background, uint8 (height / factor, width / factor, 3).

    Where the size that is drawn needs more than the picture has, it goes on mirrored, to the right and below.
    diffusers' pipelines change its proportions instead, by up to 31 pixels.

    Args:
        request: resolved; its width and height are those of what is drawn.
        factor: by which the model enlarges.

    Raises:
        ImageError: its file has gone or changed.
    """
    assert request.width is not None and request.height is not None
    pixels = over(_pixels(request), request.background)
    below, right = request.height // factor - len(pixels), request.width // factor - pixels.shape[1]
    return np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="symmetric")


def kept(request: Request, factor: int, pixels: Pixels) -> Pixels:
    """What is stored of the picture that was drawn, uint8 (height, width, 3 or 4) of ``stored_size``.

    What went on beyond the edges is cut off. Where less was asked for than the model enlarges by, the rest is
    reduced by Lanczos' filter. The transparency of the picture that was given is enlarged by that, too.

    Args:
        request: resolved.
        factor: by which the model enlarges.
        pixels: as drawn, uint8 (its height, its width, 3).

    Raises:
        ImageError: the picture's file has gone or changed.
    """
    picture = request.init_image
    assert picture is not None and request.stored_size is not None
    whole = pixels[: picture.height * factor, : picture.width * factor]
    found = resized(whole, *request.stored_size, "stretch")
    if not picture.alpha:
        return np.ascontiguousarray(found)
    alpha = np.ascontiguousarray(_pixels(request)[..., 3])
    return np.dstack([found, resized(alpha, *request.stored_size, "stretch")])


def _pixels(request: Request) -> Pixels:
    assert request.init_image is not None
    try:
        return request.init_image.pixels()
    except InputError as error:
        raise ImageError(str(error)) from None
