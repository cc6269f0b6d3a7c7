"""Pictures of clients, decoded within bounds, and pictures for them, encoded. Both take a while."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
from typing import TYPE_CHECKING

from sdgen.errors import InputError
from sdgen.files import picture_files
from sdgen.images.metadata import encode
from sdgen.request.pictures import Picture, read_picture
from sdgen.serve.settings import Limits

if TYPE_CHECKING:
    from sdgen.images.image import Image, Pixels

TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
"""Media types of the formats of ``sdgen.images.metadata``."""

_PREVIEW_QUALITY = 80

_DATA_URL = re.compile(r"data:image/[a-zA-Z0-9.+-]{1,40}(;[a-zA-Z0-9=.+-]{1,40}){0,4},")
_HEAD = 400
"""Characters in which the head of a data URL is looked for."""


def of_bytes(data: bytes, field: str, limits: Limits) -> Picture:
    """The picture that the bytes of a file show.

    Raises:
        OverLimit: it has too many pixels; it is not decoded then.
        InputError: it is no picture, or a damaged one.
    """
    check_size(data, field, limits)
    return read_picture(data, field)


def check_size(data: bytes, field: str, limits: Limits) -> None:
    """Refuse a picture that says that it has too many pixels. Anything else is for whoever decodes it.

    Raises:
        OverLimit: it has.
    """
    size = None
    with contextlib.suppress(Exception), picture_files.opened(data, field) as opened:
        size = opened.size
    if size is not None:
        limits.check_size(*size, field)


def of_base64(text: str, field: str, limits: Limits) -> Picture:
    """The picture that is in a text, as ``data_of_base64`` takes it.

    Raises:
        InputError: it is none; OverLimit, as ``of_bytes``.
    """
    return of_bytes(data_of_base64(text, field), field, limits)


def data_of_base64(text: str, field: str) -> bytes:
    """The bytes that are in a text: base64, or a data URL. A URL of anything else is never opened.

    Raises:
        InputError: it is none.
    """
    head = _DATA_URL.match(text[:_HEAD])
    if head is None and ("://" in text[:_HEAD] or text.startswith(("data:", "file:", "/", "."))):
        raise InputError(f"{field} must be a picture in base64; no URL or path is opened", field)
    try:
        return base64.b64decode(text[head.end() :] if head else text, validate=False)
    except (binascii.Error, ValueError):
        raise InputError(f"{field} is no base64", field) from None


def to_bytes(image: Image, format: str, quality: int | None = None, text: bool = True) -> bytes:
    """The file of a picture, as ``sdgen.images.metadata.encode`` writes it.

    Raises:
        ImageError: there are no pixels.
    """
    if image.pixels is None:
        raise image.error or InputError("the image has no pixels")
    request = image.request if text else None
    return encode(image.pixels, format, request, image.details, quality=quality)


def preview(seen: Pixels, size: tuple[int, int] | None, format: str) -> bytes:
    """The file of what a picture looks like while it forms, brought to ``size``: width and height."""
    import numpy as np
    from PIL import Image

    if size is not None and (seen.shape[1], seen.shape[0]) != size:
        seen = np.asarray(Image.fromarray(seen).resize(size, Image.Resampling.BICUBIC))
    return encode(seen, format, quality=_PREVIEW_QUALITY)


def text_of(data: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(data).decode("ascii")
