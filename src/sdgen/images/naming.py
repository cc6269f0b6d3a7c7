"""File names: what a template of fields becomes, safe on every file system."""

from __future__ import annotations

import os
import re
import string
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from sdgen.errors import InputError
from sdgen.request import Request

DIGEST, OLD_DIGEST = 16, 10
"""Hexadecimal digits of a digest in a name, and how many sdgen wrote before. A million names that differ in
their digest alone meet with a probability of 3e-8, where ten digits meet with one of 0.37."""

_TEXTS = {"slug": 60, "prompt": 100, "image": 100, "model": 60, "sampler": 16, "date": 10, "time": 8}
_NUMBERS = {"n": 9, "seed": 19, "steps": 4, "guidance": 12, "width": 4, "height": 4}
_SHAPES = {
    "slug": "[a-z0-9-]{1,60}",
    "prompt": ".{0,100}",
    "image": ".{0,100}",
    "model": "[a-z0-9.-]{1,60}",
    "sampler": "[a-z0-9-]{0,16}",
    "date": "[0-9]{4}-[0-9]{2}-[0-9]{2}",
    "time": "[0-9]{2}-[0-9]{2}-[0-9]{2}",
    "digest": f"[0-9a-f]{{{OLD_DIGEST},{DIGEST}}}",
    "guidance": "[0-9.e+-]+",
}
"""Regular expressions for what a field becomes in a name; fields that are not here become digits."""

_DATE = re.compile(r"(?:19|20)[0-9]{2}(-?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12][0-9]|3[01])(?![0-9])")
FIELDS = (
    "n",
    "slug",
    "seed",
    "steps",
    "sampler",
    "model",
    "guidance",
    "width",
    "height",
    "prompt",
    "image",
    "digest",
    "date",
    "time",
)
"""The fields of a name template."""

DEFAULT = "{n}-{slug}-{seed}"
AS_STARTED = "{image}"
"""The template for images that were started from several pictures: each has the name of its picture."""

LONGEST = 200
"""Bytes of a name without its ending. File systems allow 255; temporary files need some more."""

_SHORTEST_TEXT = 10
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]+')
_WIDTH = re.compile(r"0?([0-9]{0,2})")


def slug(text: str, longest: int = 60) -> str:
    """Letters a-z, digits and single hyphens, cut between words where that keeps at least one.

    Accents are dropped; text with nothing else left ("富士山") becomes "image".
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if len(words) > longest:
        whole, _, _ = words[: longest + 1].rpartition("-")
        words = whole or words[:longest]
    return words or "image"


class Template:
    """A name template such as ``{n}-{slug}-{seed}``; numbers take a width: ``{seed:010}``.

    Args:
        text: literal text and fields of ``FIELDS``. It names a file, not a path.
        old: make names as sdgen did when a digest had ``OLD_DIGEST`` digits or fewer.

    Raises:
        InputError: a field is unknown, a brace is alone, the text holds what a file name cannot, or names
            would be too long.
    """

    def __init__(self, text: str, old: bool = False) -> None:
        self.text = text
        self._texts = {**_TEXTS, "digest": OLD_DIGEST} if old else _TEXTS
        try:
            self._parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise self._refused(f"{error}; write {{{{ and }}}} for braces") from None
        literals = "".join(literal for literal, _, _, _ in self._parts)
        if not text or not text.isprintable() or _FORBIDDEN.search(literals):
            raise self._refused('a name is no path and has none of < > : " / \\ | ? *; -o chooses the folder')
        self._text_limit = self._measure(literals)
        self.fields = frozenset(field for _, field, _, _ in self._parts if field is not None)
        self.numbered = "n" in self.fields
        self._made = re.compile("".join(self._shapes()), re.IGNORECASE | re.DOTALL)

    def stem(self, values: Mapping[str, Any]) -> str:
        """The file name without its ending: at most 200 bytes, never hidden, no device of Windows.

        Args:
            values: every field that the template has; ``n`` is written with at least 4 digits.
        """
        stem = ""
        for literal, field, spec, _ in self._parts:
            stem += literal
            if field in self._texts:
                stem += _cut(str(values[field]), min(self._text_limit, self._texts[field]))
            elif field == "digest":
                stem += str(values[field])[:DIGEST]
            elif field is not None:
                stem += format(values[field], spec or {"n": "04", "guidance": "g"}.get(field, ""))
        stem = stem.strip(". ")
        return f"{stem}_" if _RESERVED.fullmatch(stem) else stem or "image"

    def number(self, stem: str, recorded: Mapping[str, Any] | None = None) -> int | None:
        """The number ``n`` in a name that this template could have made, or None.

        Args:
            stem: the name without its ending, in any case.
            recorded: ``fields`` of the request of which the file tells, where it does; the name must be the
                one that they give. Otherwise a date in the number's place is taken for no number.
        """
        found = self._made.fullmatch(stem)
        if not found or not self.numbered:
            return None
        texts, start = found.groupdict(), found.start("n")
        number = int(texts["n"])
        if recorded is None:
            return None if _DATE.match(stem, start) else number
        when = {name: text for name, text in texts.items() if name in ("date", "time")}
        values: dict[str, Any] = {**recorded, **when, "n": number}
        if recorded["digest"].startswith(texts.get("digest", "").lower()):
            values["digest"] = texts.get("digest")  # It may have as few digits as earlier names.
        return number if self.stem(values).casefold() == stem.casefold() else None

    def _shapes(self) -> Iterator[str]:
        """Regular expressions of the template's parts, a group for the first of each field."""
        seen = set()
        for literal, field, spec, _ in self._parts:
            yield re.escape(literal)
            if field is None:
                continue
            shape = _SHAPES.get(field, "[0-9]+")
            if field == "n":
                width = int((spec or "4").lstrip("0") or 1)
                shape = f"(?=[0-9]{{{width}}})0*[0-9]{{1,9}}"
            yield f"(?:{shape})" if field in seen else f"(?P<{field}>{shape})"
            seen.add(field)

    def _measure(self, literals: str) -> int:
        """How many bytes each text field may have, so that no name is too long."""
        left, texts = LONGEST - len(os.fsencode(literals)), 0
        for _, field, spec, conversion in self._parts:
            if field is None:
                continue
            if conversion:
                raise self._refused(f"{{{field}!{conversion}}}: write {{{field}}}")
            if field not in FIELDS:
                raise self._refused(f"unknown field {{{field}}}; the fields are {', '.join(FIELDS)}")
            width = _WIDTH.fullmatch(spec or "")
            if width is None or (spec and field in (*_TEXTS, "digest")):
                raise self._refused(f"{{{field}:{spec}}}: only numbers take a width, such as {{n:06}}")
            if field in self._texts:
                texts += 1
            elif field == "digest":
                left -= DIGEST
            else:
                left -= max(_NUMBERS[field], int(width[1] or 0))
        limit = left // texts if texts else left
        if limit < (_SHORTEST_TEXT if texts else 0):
            raise self._refused(f"names would be longer than {LONGEST} bytes")
        return limit

    def _refused(self, why: str) -> InputError:
        return InputError(f"--name {self.text[:LONGEST]!r}: {why}", "name")


def _storable(text: str) -> str:
    """``text`` without letters that file names cannot hold in this locale, such as "é" in an ASCII one."""
    encoding = sys.getfilesystemencoding()
    return text.encode(encoding, "ignore").decode(encoding)


def fields(request: Request, digest: str | None = None) -> dict[str, Any]:
    """The template fields that a finished request gives; ``n``, ``date`` and ``time`` are the caller's.

    Args:
        request: with what the model fills in.
        digest: in place of the request's.
    """
    width, height = request.stored_size or (request.width, request.height)
    return {
        "prompt": _shown(request.prompt),
        "image": _started_from(request),
        "digest": digest or request.digest(),
        "slug": slug(request.prompt),
        "seed": request.seed,
        "steps": request.steps or 0,
        "sampler": request.sampler or "",
        "model": model_slug(request.model or ""),
        "guidance": request.guidance or 0.0,
        "width": width or 0,
        "height": height or 0,
    }


def _shown(text: str) -> str:
    """The text, with a space for what a file name cannot hold."""
    shown = _FORBIDDEN.sub(" ", _storable(text))
    return " ".join("".join(letter if letter.isprintable() else " " for letter in shown).split())


def _started_from(request: Request) -> str:
    """The name of the file that the image was started from, without its ending; "image" where none was."""
    file = request.init_image.file if request.init_image is not None else None
    return _shown(re.split(r"[/\\]", os.path.splitext(file)[0])[-1]) if file else "image"


def model_slug(model: str) -> str:
    """A model's name, or the last part of its path, with dots kept: ``sd2.1-base``."""
    last = re.split(r"[/\\]", model.rstrip("/\\"))[-1]
    last = re.sub(r"\.(safetensors|h5|ckpt|pt|pth|bin)$", "", last)
    return ".".join(slug(part) for part in last.split(".") if part) or "model"


def _cut(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore").rstrip(" -.")
