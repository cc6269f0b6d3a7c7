"""The sheet of what several methods make of pictures: crops side by side, a pixel a pixel.

As figure 10 of Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models": a row has
the whole picture with the place of the crops marked, then a crop a method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sdgen.errors import InputError
from sdgen.files import picture_files
from sdgen.images.contact_sheet import MOST_SIDE
from sdgen.images.crops import Square
from sdgen.images.metrics import Pixels
from sdgen.images.sheet_text import FAINT, INK, LINE, PAPER, sheet_font, write

if TYPE_CHECKING:
    from PIL import Image

LEAST_SIDE = 160
"""Pixels of a cell's side, so that a caption fits below the smallest crop."""

_GAP = 8
_CAPTION_LINES = 3
_WIDEST = 2
"""Of the whole picture: so many times as wide as its cell is high."""
_MARK, _MARK_WIDTH = (220, 0, 0), 2


@dataclasses.dataclass(frozen=True)
class Panel:
    """What one method made of the place.

    Attributes:
        name: of the method.
        figures: lines below the name, at most two.
        crop: uint8 (side, side, 3); None where it made nothing.
    """

    name: str
    figures: Sequence[str]
    crop: Pixels | None


@dataclasses.dataclass(frozen=True)
class Row:
    """One picture.

    Attributes:
        name: of the picture.
        whole: it, uint8 (height, width, 3), as ``shrunk`` gives it.
        size: width and height of the enlarged picture.
        place: of the crops within that.
        panels: one a method.
    """

    name: str
    whole: Pixels
    size: tuple[int, int]
    place: Square
    panels: Sequence[Panel]


def require_room(sides: Sequence[int], columns: int) -> None:
    """Refuse a sheet that would be too large, before anything is drawn for it.

    Args:
        sides: of the crops of each row.
        columns: crops of a row.

    Raises:
        InputError: it would be.
    """
    width, height = _size(sides, columns, _WIDEST * _cell(max(sides)))
    if max(width, height) > MOST_SIDE or width * height > picture_files.MOST_PIXELS:
        raise InputError(
            f"the sheet would have {width}x{height} pixels; compare fewer pictures or methods, or smaller "
            "crops"
        )


def shrunk(pixels: Pixels, side: int) -> Pixels:
    """A whole picture, no larger than its cell beside crops of some side; uint8 (height, width, 3)."""
    import numpy as np
    from PIL import Image

    cell = _cell(side)
    picture = Image.fromarray(pixels)
    picture.thumbnail((_WIDEST * cell, cell), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def draw(rows: Sequence[Row]) -> Image.Image:
    """The sheet of one row or more, an RGB picture.

    Raises:
        InputError: as ``require_room``.
    """
    from PIL import Image, ImageDraw

    sides, columns = [row.place.side for row in rows], max(len(row.panels) for row in rows)
    require_room(sides, columns)
    first, across = max(LEAST_SIDE, *(row.whole.shape[1] for row in rows)), _cell(max(sides))
    sheet = Image.new("RGB", _size(sides, columns, first), PAPER)
    pen, font = ImageDraw.Draw(sheet), sheet_font()
    top = _GAP
    for row in rows:
        below = top + _cell(row.place.side)
        sheet.paste(_marked(row), (_GAP, top))
        write(pen, font, (_GAP, below), row.name, first, INK)
        for number, panel in enumerate(row.panels):
            left = _GAP + first + _GAP + number * (across + _GAP)
            if panel.crop is not None:
                sheet.paste(Image.fromarray(panel.crop), (left, top))
            write(pen, font, (left, below), panel.name, across, INK)
            for line, text in enumerate(panel.figures, 1):
                write(pen, font, (left, below + line * LINE), text, across, FAINT)
        top = below + _CAPTION_LINES * LINE + _GAP
    return sheet


def _cell(side: int) -> int:
    """Pixels that a crop has, across and down."""
    return max(side, LEAST_SIDE)


def _size(sides: Sequence[int], columns: int, first: int) -> tuple[int, int]:
    """Width and height of the sheet, of which ``first`` pixels are for the whole pictures."""
    width = _GAP + first + _GAP + columns * (_cell(max(sides)) + _GAP)
    return width, _GAP + sum(_cell(side) + _CAPTION_LINES * LINE + _GAP for side in sides)


def _marked(row: Row) -> Image.Image:
    """The whole picture with a frame around the place of the crops."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(row.whole)
    across, down = picture.width / row.size[0], picture.height / row.size[1]
    x, y, side = row.place.x, row.place.y, row.place.side
    corners = (x * across, y * down, (x + side) * across - 1, (y + side) * down - 1)
    left, top, right, bottom = map(round, corners)
    # Of a tiny place, the frame has its middle and no width.
    box = (left, top, max(left, right), max(top, bottom))
    ImageDraw.Draw(picture).rectangle(box, outline=_MARK, width=_MARK_WIDTH)
    return picture
