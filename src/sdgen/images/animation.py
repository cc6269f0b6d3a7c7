"""Frames as one file: an animation (GIF, WebP, APNG), or a strip with all of them side by side (PNG).

Pillow keeps the frames of an animation until the last has come, a GIF's in a byte a pixel and others' in
three. ``MOST_PIXELS`` bounds that: where all of them together have more, they are made smaller.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdgen.errors import InputError
from sdgen.files import exif
from sdgen.images import ai_mark, pictures

if TYPE_CHECKING:
    from PIL import Image as Pillow

    from sdgen.images.image import Pixels

FORMATS = {".gif": "gif", ".webp": "webp", ".apng": "apng", ".png": "strip"}
"""What a file name's ending stands for."""

MOST_MOMENTS = 64
"""Steps that the record of a picture shows."""

MOST_FRAMES = 1000
"""The most frames of an animation."""

MOST_PIXELS = 2**26
"""The most pixels of all frames together."""

QUALITY = 90
"""The quality of WebP, 0 to 100."""

_PALETTE_FRAMES, _PALETTE_SIDE = 64, 48
"""The most frames that a GIF's palette is made of, and the side in pixels to which each is reduced."""

_GAP, _LINE, _FONT_SIZE = 4, 18, 14
_INK, _PAPER = (20, 20, 20), (255, 255, 255)
_MOST_STRIP_SIDE = 16_000


def format_of(name: str, option: str = "--record") -> str:
    """What a file of this name holds, a value of ``FORMATS``.

    Raises:
        InputError: its ending stands for nothing that is written here.
    """
    ending = Path(name).suffix.lower()
    if ending not in FORMATS:
        raise InputError(
            f"{option} {name}: end the name in .gif, .webp or .apng for an animation, in .png for a strip",
            option.lstrip("-"),
        )
    return FORMATS[ending]


def encode(
    frames: Collection[Pixels],
    format: str,
    *,
    seconds: float = 4.0,
    hold: float = 2.0,
    text: str = "",
    mark: bool = True,
) -> bytes:
    """An animation that begins anew for ever.

    Args:
        frames: each uint8 (height, width, 3), all of one size. They may be made as the collection is
            iterated, which is done up to three times.
        format: "gif", "webp" or "apng".
        seconds: of all frames but the last, together; none is shown for less than 0.02 s.
        hold: seconds that the last is shown.
        text: written into the file as its description; "" for none.
        mark: say in the file that AI made it, where the format can.

    Raises:
        InputError: there are too many frames.
    """
    count = len(frames)
    if not 0 < count <= MOST_FRAMES:
        raise InputError(f"an animation takes 1 to {MOST_FRAMES} frames, and these are {count}")
    each = max(20, round(1000 * seconds / max(1, count - 1)))
    options: dict[str, Any] = {
        "save_all": True,
        "loop": 0,
        "duration": [each] * (count - 1) + [max(each, round(1000 * hold))],
    }
    if format == "gif":
        options |= {"optimize": False, "comment": f"{pictures.RECORD}\n{text}".strip().encode()}
        palette = _palette(frames, holds=1000 * hold > each)
    else:
        _describe(format, options, text, mark)
        palette = None
    if format == "webp":
        options |= {"quality": QUALITY, "method": 2}
    shown, stream = _Shown(frames, palette), io.BytesIO()
    first = next(iter(shown))
    options["append_images"] = _Shown(frames, palette, first=1)
    first.save(stream, "PNG" if format == "apng" else format.upper(), **options)
    return stream.getvalue()


def encode_strip(
    rows: Sequence[Sequence[Pixels]], labels: Sequence[str], *, text: str = "", mark: bool = True
) -> bytes:
    """A PNG with frames side by side, a label above each column.

    Args:
        rows: of equally many frames, uint8 (height, width, 3), all of one size.
        labels: a short text for each column.
        text, mark: as for ``encode``.
    """
    from PIL import Image, ImageDraw, ImageFont

    columns = len(labels)
    height, width = rows[0][0].shape[:2]
    most = _MOST_STRIP_SIDE / columns - _GAP, (_MOST_STRIP_SIDE - _LINE) / len(rows) - _GAP
    scale = min(1.0, most[0] / width, most[1] / height)
    width, height = max(1, int(width * scale)), max(1, int(height * scale))
    size = (columns * (width + _GAP) - _GAP, _LINE + len(rows) * (height + _GAP) - _GAP)
    strip, font = Image.new("RGB", size, _PAPER), ImageFont.load_default(_FONT_SIZE)
    pen = ImageDraw.Draw(strip)
    for column, label in enumerate(labels):
        middle = column * (width + _GAP) + width / 2
        pen.text((middle - font.getlength(label) / 2, 0), label, _INK, font)
    for number, row in enumerate(rows):
        for column, pixels in enumerate(row):
            frame = Image.fromarray(pixels)
            if scale < 1:
                frame = frame.resize((width, height), Image.Resampling.LANCZOS)
            strip.paste(frame, (column * (width + _GAP), _LINE + number * (height + _GAP)))
    options: dict[str, Any] = {}
    _describe("png", options, text, mark)
    stream = io.BytesIO()
    strip.save(stream, "PNG", **options)
    return stream.getvalue()


class _Shown:
    """Frames for Pillow, which may iterate more than once; smaller where all would be too many pixels.

    Args:
        frames: as for ``encode``.
        palette: whose colours they get, each colour the nearest: nothing flickers where nothing changes.
        first: how many are left out.
    """

    def __init__(self, frames: Collection[Pixels], palette: Pillow.Image | None, first: int = 0) -> None:
        self._frames, self._palette, self._first = frames, palette, first

    def __iter__(self) -> Iterator[Pillow.Image]:
        from PIL import Image

        for pixels in itertools.islice(self._frames, self._first, None):
            frame = Image.fromarray(pixels)
            scale = math.sqrt(MOST_PIXELS / (len(self._frames) * frame.width * frame.height))
            if scale < 1:
                size = max(1, int(frame.width * scale)), max(1, int(frame.height * scale))
                frame = frame.resize(size, Image.Resampling.LANCZOS)
            if self._palette is not None:
                frame = frame.quantize(palette=self._palette, dither=Image.Dither.NONE)
            yield frame


def _palette(frames: Collection[Pixels], holds: bool) -> Pillow.Image:
    """A picture with 256 colours that suit all frames, and above all the last one if it is held."""
    from PIL import Image

    chosen = set(evenly(len(frames), _PALETTE_FRAMES))
    samples = [
        Image.fromarray(pixels).resize((_PALETTE_SIDE, _PALETTE_SIDE), Image.Resampling.NEAREST)
        for number, pixels in enumerate(frames, 1)
        if number in chosen
    ]
    if holds:
        samples += samples[-1:] * (len(samples) // 2)
    mosaic = Image.new("RGB", (_PALETTE_SIDE, _PALETTE_SIDE * len(samples)))
    for number, sample in enumerate(samples):
        mosaic.paste(sample, (0, number * _PALETTE_SIDE))
    return mosaic.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1)


def evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of the numbers 1 to ``count``, evenly spread; the last is always among them."""
    if most == 1:
        return [count]
    wanted = min(count, most)
    return list(dict.fromkeys(1 + i * (count - 1) // max(1, wanted - 1) for i in range(wanted)))


def _describe(format: str, options: dict[str, Any], text: str, mark: bool) -> None:
    """Put what is said of the frames into what Pillow's ``save`` gets: EXIF, and the mark of AI."""
    from PIL import Image

    fields: Image.Exif = Image.Exif()
    fields[exif.SOFTWARE] = pictures.RECORD
    options["exif"] = fields.tobytes()
    if format in ("png", "apng"):
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = PngInfo()
        if text:
            options["pnginfo"].add_itxt("Description", text)
    elif text:
        fields[_IMAGE_DESCRIPTION] = text.encode()
        options["exif"] = fields.tobytes()
    if mark:
        ai_mark.mark("png" if format == "apng" else format, options)


_IMAGE_DESCRIPTION = 0x010E
"""EXIF's field for a title or description."""
