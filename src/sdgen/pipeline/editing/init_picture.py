"""The picture that a request starts from, as it is drawn on."""

from __future__ import annotations

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
    return over(_sized(request), request.background)


def init_alpha(request: Request) -> Pixels:
    """How opaque it is there, uint8 (height, width).

    Raises:
        ImageError: its file has gone or changed.
    """
    return np.ascontiguousarray(_sized(request)[..., 3])


def _sized(request: Request) -> Pixels:
    assert request.init_image is not None and request.width is not None and request.height is not None
    try:
        return resized(request.init_image.pixels(), request.width, request.height, request.resize)
    except InputError as error:
        raise ImageError(str(error)) from None
