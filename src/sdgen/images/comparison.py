"""Whether a picture that was drawn again is the one that was recorded."""

from __future__ import annotations

import dataclasses
import io
import math

from sdgen.images import metrics, pictures
from sdgen.images.metadata import encode, pixels_sha256
from sdgen.images.metrics import Pixels
from sdgen.images.records import Record

CLOSE = 40.0
"""PSNR in dB from which two pictures count as close: errors of 1 % of the range, which eyes do not find."""

_LOSSY = {".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg"}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How a picture compares with the recorded one.

    Attributes:
        verdict: "identical", "close" or "different".
        psnr: in dB; None where it is infinite or cannot be measured.
        note: what is odd about the comparison, a sentence, or None.
    """

    verdict: str
    psnr: float | None = None
    note: str | None = None


def compare(record: Record, pixels: Pixels) -> Comparison:
    """Compare pixels with the recorded digest and, where that differs, with the image.

    A WebP or JPEG is compared with the new pixels as the same format stores them.

    Args:
        record: says where the image is and, of a sidecar, what its pixels were.
        pixels: uint8 (height, width, 3), or 4 with transparency.

    Raises:
        InputError: the image cannot be read.
    """
    recorded = record.details.get("pixels_sha256")
    if recorded is not None and pixels_sha256(pixels) == recorded:
        return Comparison("identical")
    if record.image is None:
        return Comparison("different", note="the image is not there, so how different cannot be said")
    stored = pictures.drawn(pictures.open_picture(record.image))
    note = None
    lossy = _LOSSY.get(record.image.suffix.lower())
    if lossy:
        pixels = _as_stored(pixels, lossy, str(record.settings.get("background", "white")))
    elif recorded is not None and pixels_sha256(stored) != recorded:
        note = f"{record.image} has changed since it was recorded"
    if stored.shape != pixels.shape:
        sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (stored, pixels)]
        return Comparison("different", note=f"it was {sizes[0]} and is now {sizes[1]}")
    decibels = metrics.psnr(stored, pixels)
    if math.isinf(decibels):
        # Where a digest was recorded, pixels that differ only before a lossy format stored them are close.
        return Comparison("identical" if recorded is None else "close", note=note)
    return Comparison("close" if decibels >= CLOSE else "different", decibels, note)


def _as_stored(pixels: Pixels, format: str, background: str) -> Pixels:
    from PIL import Image

    with Image.open(io.BytesIO(encode(pixels, format, background=background))) as picture:
        return pictures.drawn(picture)
