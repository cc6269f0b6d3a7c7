"""What a file is that was taken for a picture but cannot be read: told by its first bytes, not its ending."""

from __future__ import annotations

import re

HEAD = 1024
"""Bytes of a file that are looked at."""

_CONVERT = "convert it to PNG"
_SIGNS: tuple[tuple[re.Pattern[bytes], str, str], ...] = tuple(
    (re.compile(sign, re.DOTALL | re.IGNORECASE), what, advice)
    for sign, what, advice in (
        (rb"\Z", "empty", "give another file"),
        (
            rb"version https://git-lfs\.github\.com/spec/",
            "a Git LFS pointer in a picture's place",
            "fetch the picture with git lfs pull",
        ),
        (
            rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?)?<svg|(?:\xef\xbb\xbf)?\s*<\?xml.*?svg",
            "an SVG drawing",
            _CONVERT,
        ),
        (rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head)", "a web page", "download the picture itself"),
        (rb"%pdf-", "a PDF", _CONVERT),
        (rb"%!ps|\xc5\xd0\xd3\xc6", "PostScript", _CONVERT),
        (rb"....ftyp(?:hei|hev|mif1|msf1)", "a HEIC photograph", "convert it to JPEG or PNG"),
        (rb"....ftyp(?:isom|mp4|iso|M4V|qt)|\x1aE\xdf\xa3", "a film", "save one frame of it as PNG"),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL picture", _CONVERT),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 picture", _CONVERT),
        (rb"8bps", "a Photoshop document", _CONVERT),
        (rb"gimp xcf", "a GIMP document", _CONVERT),
        (rb"v/1\x01|#\?radiance", "a picture of high dynamic range", _CONVERT),
        (rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", "a Windows metafile", _CONVERT),
        (rb"\0\0[\x01\x02]\0[\x01-\xff]\0", "an icon", _CONVERT),
        (rb"\s*[\[{]\s*[\"\]}]", "JSON", "give the picture's own file"),
        (rb"PK\x03\x04|\x1f\x8b|Rar!|7z\xbc\xaf", "an archive", "unpack it"),
    )
)

_FORMATS = re.compile(
    rb"(?P<PNG>\x89PNG)|(?P<JPEG>\xff\xd8\xff)|(?P<GIF>GIF8)|(?P<BMP>BM)|(?P<WEBP>RIFF....WEBP)"
    rb"|(?P<TIFF>II[*+]\0|MM\0[*+])|(?P<AVIF>....ftypavi[fs])|(?P<PPM>P[1-6][\s#])",
    re.DOTALL,
)
"""How the formats begin that are read."""


def format_of(head: bytes) -> str | None:
    """The format, by Pillow's name, that a file's first bytes are of, be the file whole or not."""
    found = _FORMATS.match(head)
    return found.lastgroup if found else None


def what(head: bytes) -> tuple[str, str] | None:
    """What a file that begins like this is, as "an SVG drawing", and what to do; None where it is unknown."""
    for sign, found, advice in _SIGNS:
        if sign.match(head):
            return found, advice
    return None
