"""The picture that a request starts from, at the size and in the colours that drawing begins with."""

from __future__ import annotations

from typing import Any

import numpy as np

from sdgen.errors import ImageError, InputError
from sdgen.images.image import Pixels
from sdgen.pipeline.editing.compositing import over
from sdgen.pipeline.editing.resizing import resized
from sdgen.request import Request


def init_pixels(request: Request) -> Pixels:
    """A resolved request's picture in the size that is drawn, uint8 (height, width, 3).

    What is transparent shows the request's background.

    Raises:
        ImageError: its file has gone or changed.
    """
    assert request.width is not None and request.height is not None
    return over(_sized(request, request.width, request.height), request.background)


def init_alpha(request: Request) -> Pixels:
    """The opacity of the picture at the size that is stored, after ``hires`` if any: uint8 (height, width).

    Raises:
        ImageError: its file has gone or changed.
    """
    assert request.picture_size is not None
    return np.ascontiguousarray(_sized(request, *request.picture_size)[..., 3])


def signed(pixels: Pixels) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Pixels of 0 to 255 as the encoder takes them, float32 of -1 to 1 and of the same shape.

    Rounded as diffusers' VaeImageProcessor rounds them: divided by 255 first.
    """
    values: np.ndarray[Any, np.dtype[np.float32]] = pixels.astype(np.float32) / np.float32(255) * 2 - 1
    return values


def _sized(request: Request, width: int, height: int) -> Pixels:
    assert request.init_image is not None
    try:
        return resized(request.init_image.pixels(), width, height, request.resize)
    except InputError as error:
        raise ImageError(str(error)) from None
