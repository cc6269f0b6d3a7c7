"""Text on contact sheets and the like, in Pillow's own font."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

LINE = 18
"""Pixels from a line of text to the next."""

INK, FAINT, PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)
"""Colours of labels, of captions and of what is behind both."""

_FONT_SIZE = 14


def sheet_font() -> Font:
    """The font of all sheets."""
    from PIL import ImageFont

    return ImageFont.load_default(_FONT_SIZE)


def drawable(text: str) -> str:
    """The text in the characters of Pillow's own font: accents are dropped, others become question marks."""
    plain = unicodedata.normalize("NFKD", " ".join(text.split()))
    kept = (char for char in plain if not unicodedata.combining(char))
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in kept)


def fitted(text: str, font: Font, width: float) -> str:
    """A drawable text, cut to be no wider than ``width`` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[: -max(1, len(text) // 16)]
    return f"{text}..." if text else ""


def wrapped(text: str, font: Font, width: float, most: int) -> list[str]:
    """Lines no wider than ``width``; the last of ``most`` is cut."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        words = drawable(paragraph)[:2000].split(" ")
        while words:
            count = len(words)
            while count > 1 and font.getlength(" ".join(words[:count])) > width:
                count -= 1
            lines.append(fitted(" ".join(words[:count]), font, width))
            words = words[count:]
    if len(lines) > most:
        lines = [*lines[: most - 1], fitted(f"{lines[most - 1]} {lines[most]}", font, width)]
    return lines


def write(
    pen: ImageDraw.ImageDraw,
    font: Font,
    at: tuple[int, int],
    text: str,
    width: float,
    ink: tuple[int, int, int],
) -> None:
    """One line of any text, cut to a width, with its upper left corner at some place."""
    pen.text(at, fitted(drawable(text), font, width), ink, font)
