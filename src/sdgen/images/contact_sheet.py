"""Drawing contact sheets."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sdgen.errors import InputError
from sdgen.files import exif, picture_files
from sdgen.images import ai_mark, pictures
from sdgen.images.sheet_layout import Entry, Layout, text_of, value_of
from sdgen.images.sheet_text import FAINT, INK, LINE, PAPER, drawable, fitted, sheet_font, wrapped, write
from sdgen.request import FIELDS

if TYPE_CHECKING:
    from PIL import Image

    from sdgen.images.sheet_text import Font

MOST_SIDE = 16_000
"""Pixels of a sheet's side; WebP ends at 16,383."""

CELLS = (256, 192, 128, 96, 64, 32)
"""Sizes of an image on a sheet, for ``draw_fitting``."""

_FORMATS: Mapping[str, Mapping[str, Any]] = {
    "png": {},
    "webp": {"quality": 90},
    "jpeg": {"quality": 92, "subsampling": "4:4:4"},
}
_GAP = 8
_TITLE_LINES, _CAPTION_LINES = 3, 3
_LEAST_WIDTH, _MOST_LABEL = 128, 240
_ALONE = ("prompt", "file", "negative_prompt")
"""Fields whose values have a line of a caption each."""
_CLEAR = ("sampler", "schedule", "size", "model")
"""Fields whose values need no name before them."""


class TooLarge(InputError):
    """A sheet would have too many pixels."""


def draw(layout: Layout, cell: int = 256) -> Image.Image:
    """Draw a sheet.

    Args:
        layout: what goes where.
        cell: the longer side of an image on the sheet, in pixels; larger images are made smaller.

    Returns:
        An RGB picture.

    Raises:
        InputError: an image cannot be read, or the sheet would be too large (``TooLarge``).
    """
    from PIL import Image, ImageDraw

    font = sheet_font()
    # The shape of the first image is that of every cell; the others are fitted into it.
    shape = pictures.open_picture(layout.cells[min(layout.cells)].path).size
    scale = min(1.0, cell / max(shape))
    across, down = max(_LEAST_WIDTH, round(shape[0] * scale)), max(1, round(shape[1] * scale))
    captions = {
        place: _caption(entry, layout.captions, font, across) for place, entry in layout.cells.items()
    }
    caption = LINE * max(map(len, captions.values()))
    left = _label_width(layout.rows, layout.row_field, font)
    title = wrapped(layout.title, font, left + len(layout.columns) * (across + _GAP) - _GAP, _TITLE_LINES)
    corner = " / ".join(field for field in (layout.row_field, layout.column_field) if field)
    top = _GAP + (LINE * len(title) + _GAP if title else 0) + (LINE + _GAP if corner else 0)
    width = left + len(layout.columns) * (across + _GAP) + _GAP
    height = top + len(layout.rows) * (down + caption + _GAP) + _GAP
    if max(width, height) > MOST_SIDE or width * height > picture_files.MOST_PIXELS:
        raise TooLarge(
            f"the sheet would have {width}x{height} pixels; take smaller cells than {cell}, or fewer images"
        )
    drawn = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(drawn)
    for number, text in enumerate(title):
        pen.text((_GAP, _GAP + number * LINE), text, INK, font)
    if left:
        write(pen, font, (_GAP, top - LINE - _GAP), corner, left + across, FAINT)
    alone = layout.column_field is not None and layout.row_field is None
    for column, value in enumerate(layout.columns):
        text = _named(str(layout.column_field), value) if alone else value
        write(pen, font, (left + _GAP + column * (across + _GAP), top - LINE - _GAP), text, across, INK)
    for row, text in enumerate(layout.rows):
        at = top + row * (down + caption + _GAP) + down // 2 - LINE // 2
        write(pen, font, (_GAP, at), text, left - _GAP, INK)
    for (row, column), found in sorted(layout.cells.items()):
        x, y = left + _GAP + column * (across + _GAP), top + row * (down + caption + _GAP)
        picture = pictures.rgb(pictures.open_picture(found.path))
        picture.thumbnail((across, down))
        drawn.paste(picture, (x + (across - picture.width) // 2, y + (down - picture.height) // 2))
        for number, text in enumerate(captions[row, column]):
            write(pen, font, (x, y + down + number * LINE), text, across, FAINT)
    return drawn


def draw_fitting(layout: Layout) -> Image.Image:
    """As ``draw``, with the largest of ``CELLS`` that keeps the sheet within its bounds."""
    for cell in CELLS[:-1]:
        try:
            return draw(layout, cell)
        except TooLarge:
            continue
    return draw(layout, CELLS[-1])


def encode(sheet: Image.Image, format: str, source_type: str | None) -> bytes:
    """The bytes of a sheet's file, which say that it is a sheet.

    Args:
        sheet: as ``draw`` gives it.
        format: a name of ``metadata.FORMATS``.
        source_type: how its images came to be, as ``grid.source_type`` tells; None writes no mark.
    """
    fields = sheet.getexif()
    fields[exif.SOFTWARE] = pictures.SHEET
    options = {**_FORMATS[format], "exif": fields}
    if source_type is not None:
        ai_mark.mark(format, options, source_type)
    stream = io.BytesIO()
    sheet.save(stream, format.upper(), **options)
    return stream.getvalue()


def _caption(entry: Entry, fields: Sequence[str], font: Font, width: float) -> list[str]:
    """Lines that tell some fields of an image, at most ``_CAPTION_LINES``: of sparse ones those it has."""
    fields = [name for name in fields if value_of(entry, name) is not None or not _is_sparse(name)]
    values = {name: text_of(value_of(entry, name)) for name in fields}
    alone = [fitted(drawable(values[name]), font, width) for name in fields if name in _ALONE]
    rest = [_named(name, values[name]) for name in fields if name not in _ALONE]
    lines = wrapped(", ".join(rest), font, width, max(1, _CAPTION_LINES - len(alone))) if rest else []
    return [*alone, *lines][:_CAPTION_LINES]


def _is_sparse(field: str) -> bool:
    return field in FIELDS and FIELDS[field].sparse


def _named(field: str, text: str) -> str:
    return text if field in (*_CLEAR, *_ALONE) else f"{field} {text}"


def _label_width(labels: Sequence[str], field: str | None, font: Font) -> int:
    if field is None:
        return 0
    longest = max(font.getlength(drawable(label)) for label in (*labels, f"{field} / xxxxxxxx"))
    return min(_MOST_LABEL, math.ceil(longest)) + _GAP
