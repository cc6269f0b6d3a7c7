"""Pictures as what a terminal understands: kitty's protocol, iTerm2's, sixels, or coloured half blocks.

Each function gives the text that draws a picture over some lines and columns from the cursor on, and leaves
the cursor where it was. Sources: sw.kovidgoyal.net/kitty/graphics-protocol, iterm2.com/documentation-images,
DEC's VT330/VT340 Programmer Reference Manual, chapter 14.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import zlib
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

    Pixels = np.ndarray[Any, np.dtype[np.uint8]]

_CHUNK = 4096
"""Base64 characters that one command of kitty's may have."""

_NUMBER = 0x5D6E
"""The number of sdgen's picture among those that a terminal of kitty's kind keeps."""

_SIXEL_COLOURS = 64
_REPEATED = re.compile(r"([?-~])\1{3,}")
_CUBE = np.asarray([0, 95, 135, 175, 215, 255])
"""Levels of red, green and blue in the 216 colours that xterm has as 16 to 231."""


@dataclasses.dataclass(frozen=True)
class Box:
    """The cells that a picture takes."""

    columns: int
    lines: int


def fitting(width: int, height: int, columns: int, lines: int, cell: tuple[int, int] = (1, 2)) -> Box:
    """The largest box of a picture's shape within so many columns and lines.

    Args:
        width, height: of the picture.
        columns, lines: at most.
        cell: width and height of a cell, in any unit.
    """
    across, down = width / cell[0], height / cell[1]
    scale = min(columns / across, lines / down)
    return Box(max(1, round(across * scale)), max(1, min(lines, round(down * scale))))


def kitty(pixels: Pixels, box: Box) -> str:
    """Kitty's graphics protocol; a picture that is shown already gives way."""
    height, width, _ = pixels.shape
    payload = base64.standard_b64encode(zlib.compress(pixels.tobytes(), 1)).decode()
    control = f"a=T,f=24,o=z,s={width},v={height},i={_NUMBER},p=1,c={box.columns},r={box.lines},C=1,q=2,"
    parts = [payload[at : at + _CHUNK] for at in range(0, len(payload), _CHUNK)]
    commands = []
    for number, part in enumerate(parts):
        more = int(number < len(parts) - 1)
        commands.append(f"\x1b_G{control}m={more};{part}\x1b\\")
        control = "q=2,"
    return "".join(commands)


def forget_kitty() -> str:
    """Takes kitty's picture away, which erasing its lines may not do."""
    return f"\x1b_Ga=d,d=I,i={_NUMBER},q=2\x1b\\"


def iterm2(pixels: Pixels, box: Box) -> str:
    """ITerm2's inline images."""
    stream = io.BytesIO()
    _picture(pixels).save(stream, "PNG", compress_level=1)
    data = stream.getvalue()
    options = f"inline=1;size={len(data)};width={box.columns};height={box.lines};preserveAspectRatio=0"
    return _in_place(f"\x1b]1337;File={options}:{base64.standard_b64encode(data).decode()}\a")


def sixel(pixels: Pixels, box: Box, cell: tuple[int, int]) -> str:
    """Sixels: bands of six rows, in each of them a line for every colour.

    Args:
        pixels: uint8 (height, width, 3).
        box: where.
        cell: width and height of a cell, pixels.
    """
    from PIL import Image

    size = box.columns * cell[0], box.lines * cell[1] // 6 * 6
    # The octree takes a tenth of the time of other methods.
    picture = _resized(pixels, *size).quantize(_SIXEL_COLOURS, Image.Quantize.FASTOCTREE)
    palette = np.asarray(picture.getpalette(), np.int32).reshape(-1, 3) * 100 // 255
    numbers = np.asarray(picture)
    parts = [f'\x1bP0;1q"1;1;{size[0]};{size[1]}']
    parts += [f"#{number};2;{r};{g};{b}" for number, (r, g, b) in enumerate(palette.tolist())]
    columns = np.arange(size[0])
    for top in range(0, size[1], 6):
        band = numbers[top : top + 6]
        bits = np.full((_SIXEL_COLOURS, size[0]), 63, np.uint8)
        for row, line in enumerate(band):
            bits[line, columns] += 1 << row
        for number in np.unique(band).tolist():
            parts.append(f"#{number}{_run_lengths(bits[number].tobytes().decode('ascii'))}$")
        parts.append("-")
    return _in_place("".join(parts) + "\x1b\\")


def half_blocks(pixels: Pixels, box: Box, true_colour: bool) -> str:
    """Two pixels a cell: an upper half block in one colour on a ground of another.

    Args:
        pixels: uint8 (height, width, 3).
        box: where.
        true_colour: 24 bits a colour; otherwise xterm's cube of 216.
    """
    small = np.asarray(_resized(pixels, box.columns, 2 * box.lines), np.int32)
    if true_colour:
        names = np.char.add("2;", _joined(small))
    else:
        levels = np.abs(small[..., None] - _CUBE).argmin(axis=-1)
        numbers = 16 + levels @ np.asarray([36, 6, 1])
        names = np.char.add("5;", numbers.astype(str))
    lines = []
    for upper, lower in zip(names[::2].tolist(), names[1::2].tolist(), strict=True):
        runs = [(pair, len(list(same))) for pair, same in groupby(zip(upper, lower, strict=True))]
        lines.append("".join(f"\x1b[38;{top};48;{bottom}m{'▀' * count}" for (top, bottom), count in runs))
    # Down a line and to its first column without scrolling, for what has room.
    return _in_place("\x1b[0m\r\x1b[1B".join(lines) + "\x1b[0m")


def _joined(colours: Any) -> Any:
    """Red;green;blue of each pixel."""
    texts = colours.astype(str)
    red, green, blue = texts[..., 0], texts[..., 1], texts[..., 2]
    return np.char.add(np.char.add(np.char.add(np.char.add(red, ";"), green), ";"), blue)


def _run_lengths(text: str) -> str:
    """Sixels with what is repeated written once, behind ! and how often."""
    return _REPEATED.sub(lambda run: f"!{len(run[0])}{run[1]}", text)


def _in_place(text: str) -> str:
    """``text`` between the sequences that save the cursor and put it back, DECSC and DECRC."""
    return f"\x1b7{text}\x1b8"


def _resized(pixels: Pixels, width: int, height: int) -> Image.Image:
    from PIL import Image

    return _picture(pixels).resize((width, height), Image.Resampling.BOX)


def _picture(pixels: Pixels) -> Image.Image:
    from PIL import Image

    return Image.fromarray(pixels)
