"""Kinds of option values: how their text is read, and what a shell offers when completing them."""

# mypy: disable-error-code="type-arg"
# click's parameter types are generic from 8.4 on; before, they take no parameter.

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from sdgen.diffusion.sampler_names import SAMPLERS, SCHEDULES, Named, read_sampler, read_schedule
from sdgen.errors import InputError, SdgenError
from sdgen.files.picture_files import MOST_BYTES
from sdgen.files.user_files import require_regular
from sdgen.prompts import pictures
from sdgen.request import FIELDS, RANDOM_SEED, Request
from sdgen.request.mask_fields import MAX_ZOOM_OUT, zoomed_out
from sdgen.request.pictures import read_picture
from sdgen.text import numerals


class Field(click.ParamType):
    """A value of one field of ``Request``, as its table says. A seed may also be ``RANDOM_SEED``."""

    def __init__(self, field: str) -> None:
        self.field = FIELDS[field]
        self.name = self.field.metavar or "VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name, kind = self.field.name, self.field.kind
        converted = kind.read(value) if isinstance(value, str) else value
        if converted is None:
            self.fail(f"{value!r} is not {kind.noun}", param, ctx)
        if name == "prompt" and not converted.strip():
            self.fail("it is blank; say what the picture is to show", param, ctx)
        if name == "seed" and converted == RANDOM_SEED:
            return converted
        try:
            return kind.check(name, converted)
        except InputError as error:
            self.fail(str(error), param, ctx)


class Pictures(click.ParamType):
    """A picture to start from, read to a ``Picture``; a folder or a pattern of them is read to a tuple.

    ``-`` is the picture on stdin.
    """

    name = "FILE|DIR|GLOB"

    def __init__(self, field: str) -> None:
        self.field = field

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or (ctx is not None and ctx.resilient_parsing):
            return value
        source = os.path.expanduser(value)
        try:
            if source == "-":
                return read_picture(_stdin(), self.field)
            if pictures.are_several(source):
                return pictures.read(pictures.find(source), self.field)
            return read_picture(source, self.field)
        except InputError as error:
            self.fail(str(error).removeprefix(f"{self.field}: "), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


def _stdin() -> bytes:
    """A picture on stdin, up to one byte more than is read of one."""
    if sys.stdin.isatty():
        raise InputError("it is to come from stdin, which is a terminal; pipe one in, or name a file")
    return sys.stdin.buffer.read(MOST_BYTES + 1)


class Whole(click.ParamType):
    """A whole number of ``least`` to ``most``."""

    name = "N"

    def __init__(self, most: int, least: int = 1) -> None:
        self.most, self.least = most, least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = numerals.whole(value) if isinstance(value, str) else value
        if isinstance(number, int) and self.least <= number <= self.most:
            return number
        self.fail(f"{value!r} is not a whole number of {self.least} to {self.most}", param, ctx)


class Wholes(click.ParamType):
    """Whole numbers of 1 to ``most`` with commas between them."""

    name = "N,..."

    def __init__(self, most: int) -> None:
        self._whole = Whole(most)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(self._whole.convert(part, param, ctx) for part in str(value).split(","))


class ZoomOut(click.ParamType):
    """A factor above 1 as the borders that ``outpaint`` takes."""

    name = "FACTOR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if isinstance(value, str) and "%" in value:
            return value
        factor = numerals.real(str(value))
        if factor is None or not 1 < factor <= MAX_ZOOM_OUT:
            self.fail(f"{value!r} is not a factor above 1 and up to {MAX_ZOOM_OUT}", param, ctx)
        return zoomed_out(factor)


class Bytes(click.ParamType):
    """A number of bytes, with or without a unit: ``4GB``, ``500MB``, ``0``."""

    name = "BYTES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        parts = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) *([kmgt]?)b?", str(value).strip().lower())
        if parts is None:
            self.fail(f"{value!r} is not a number of bytes such as 500MB or 4GB", param, ctx)
        return int(float(parts[1]) * 1000 ** " kmgt".index(parts[2] or " "))


class Name(click.Choice):
    """One of a table's names; completion shows the line that the table has about each."""

    def __init__(self, table: Mapping[str, str]) -> None:
        super().__init__(list(table))
        self.table = table

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return "NAME"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        names = [name for name in self.table if name.startswith(incomplete)]
        return [CompletionItem(name, help=self.table[name]) for name in names]


class Sampler(Name):
    """A sampler under any tool's name, read to it and the schedule that the name says."""

    def __init__(self) -> None:
        super().__init__(SAMPLERS)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Named:
        found = value if isinstance(value, Named) else read_sampler(str(value))
        return found or Named(super().convert(value, param, ctx), None)


class Schedule(Name):
    """A noise schedule under any tool's name."""

    def __init__(self) -> None:
        super().__init__(SCHEDULES)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return read_schedule(str(value)) or super().convert(value, param, ctx)


class Size(click.ParamType):
    """``WxH`` in pixels, read to (width, height)."""

    name = "WxH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        first, _, second = str(value).lower().replace("×", "x").partition("x")
        width, height = numerals.whole(first), numerals.whole(second)
        if width is None or height is None:
            self.fail(f"{value!r} is not a width and a height such as 512x768", param, ctx)
        try:
            Request(prompt="", width=width, height=height)
        except InputError as error:
            self.fail(str(error), param, ctx)
        return width, height


class Existing(click.Path):
    """A path that must be there; ``~`` is understood wherever it comes from."""

    def __init__(self, dir_okay: bool = True) -> None:
        super().__init__(exists=True, dir_okay=dir_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(os.path.expanduser(value), param, ctx)


class Folder(click.Path):
    """A folder's path, which is not checked."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="dir")]


class Lora(click.ParamType):
    """``FILE[:SCALE]``, read to (file, scale); the scale is 1 where none is given."""

    name = "FILE[:SCALE]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        file, scale = os.path.expanduser(value), 1.0
        before, colon, after = file.rpartition(":")
        if colon and not os.path.exists(file):
            try:
                file, scale = before, float(after)
            except ValueError:
                self.fail(f"{after!r} is not a number", param, ctx)
        if not math.isfinite(scale):
            self.fail(f"the scale {scale} is not a number", param, ctx)
        try:
            require_regular(Path(file))
        except OSError:
            self.fail(f"there is no file {file}", param, ctx)
        except InputError as error:
            self.fail(str(error), param, ctx)
        return file, scale

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


class Model(click.ParamType):
    """What ``sdgen.load`` takes: a name of the catalogue, a folder, a file or a repository."""

    name = "NAME|PATH"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from sdgen.models import catalogue

        try:
            entries = catalogue.load()
        except SdgenError:
            entries = {}
        items = [
            CompletionItem(name, help=entry.summary)
            for name, entry in entries.items()
            if name.startswith(incomplete)
        ]
        return items or [CompletionItem(incomplete, type="file")]
