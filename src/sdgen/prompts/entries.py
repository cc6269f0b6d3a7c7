"""What readers of prompts files hand on: entries and faults, then lines with requests and problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sdgen.request import Request

MAX_MESSAGE = 400
"""Longest message of a problem, in characters: a value in it may be anything that a file holds."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong in a prompts file.

    Attributes:
        file: the file as it was named, or ``stdin``.
        line: counted from 1.
        field: the field as the file calls it, where one is to blame.
        message: one sentence; it names the field.
    """

    file: str
    line: int
    field: str | None
    message: str

    def __post_init__(self) -> None:
        if len(self.message) > MAX_MESSAGE:
            half = MAX_MESSAGE // 2 - 3
            object.__setattr__(self, "message", f"{self.message[:half]} ... {self.message[-half:]}")

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclasses.dataclass(frozen=True)
class Line:
    """One entry of a prompts file, or a place in it that is wrong and no entry.

    Attributes:
        file, line: where it begins.
        request: what it asks for, with the defaults filled in; None where there are problems.
        count: how many images the entry asks for, with successive seeds; None where it does not say.
        problems: everything wrong with it.
        random_seed: whether a seed is to be drawn for it by chance; the request's is 0 until then.
    """

    file: str
    line: int
    request: Request | None
    count: int | None = None
    problems: tuple[Problem, ...] = ()
    random_seed: bool = False


@dataclasses.dataclass(frozen=True)
class Unusable:
    """A field's value that could not be read; ``reason`` goes on after the field's name: "is given twice"."""

    reason: str


@dataclasses.dataclass(frozen=True)
class Entry:
    """An entry as a file has it.

    Attributes:
        line: where it begins.
        fields: by the file's names; None is a field left out.
        typed: whether values have types (JSON), or are text to be read as each field's type.
        lines: where fields are, if not on ``line``.
    """

    line: int
    fields: Mapping[str, Any]
    typed: bool = False
    lines: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Fault:
    """A place in a file that cannot be read, or what is wrong with the file from there on."""

    line: int
    message: str
    field: str | None = None
