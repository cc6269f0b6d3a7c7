"""What is done to the pixels of a picture that was started from another, once they are decoded."""

from __future__ import annotations

import numpy as np

from sdgen.errors import ImageError
from sdgen.images.image import Pixels
from sdgen.pipeline.editing.canvas import canvas
from sdgen.pipeline.editing.enlarged_picture import kept
from sdgen.pipeline.editing.init_picture import init_alpha
from sdgen.request import Request


def finished(request: Request, pixels: Pixels, factor: int = 0) -> tuple[Pixels | None, ImageError | None]:
    """The pixels of a resolved request as they are stored, uint8 (height, width, 3 or 4); or why not.

    The transparency of the picture that was started from is given back, and what a mask leaves as it is.

    Args:
        request: resolved.
        pixels: of the decoder, uint8 (height, width, 3).
        factor: by which the model enlarges, of a request that enlarges.
    """
    if request.upscale is not None:
        return _enlarged(request, factor, pixels)
    if request.init_image is None or not (request.masked or request.init_image.alpha):
        return pixels, None
    try:
        if request.masked:
            return canvas(request).with_drawn(pixels, request.colour_match), None
        return np.dstack([pixels, init_alpha(request)]), None
    except ImageError as error:
        return None, error


def _enlarged(request: Request, factor: int, pixels: Pixels) -> tuple[Pixels | None, ImageError | None]:
    try:
        return kept(request, factor, pixels), None
    except ImageError as error:
        return None, error
