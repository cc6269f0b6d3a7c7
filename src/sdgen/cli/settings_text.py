"""Changing one key of a settings file, with its comments, order and other lines left as they are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from sdgen.cli import settings
from sdgen.cli.types import Existing, Lora, Model
from sdgen.errors import InputError
from sdgen.files import toml_text
from sdgen.models import catalogue

_NEWLINE = "\n"
_ENDS = ("]", '"""', "'''")


def changed(text: str, key: str, value: str | None, path: Path) -> str:
    """The text of a settings file with another value of ``key``.

    Args:
        text: what the file says.
        key: an option's.
        value: as TOML; None takes the key out.
        path: the file, for the message.

    Raises:
        InputError: the text is no TOML, or is written in a way that only its author can change.
    """
    wanted = toml_text.parse(text, path)
    wanted.pop(key, None)
    assignment = f"{key} = {value}"
    if value is not None:
        wanted |= toml_text.parse(assignment, path)
    parts, waiting = [], value is not None
    for statement in _statements(text):
        if key not in (_table(statement) or ()):
            parts.append(statement)
        elif value is not None:
            parts.append(assignment + _after_value(statement))
            waiting = False
    if waiting:
        ended = not parts or parts[-1].endswith("\n")
        parts.append(f"{'' if ended else _NEWLINE}{assignment}{_NEWLINE}")
    new = "".join(parts)
    if toml_text.parse(new, path) != wanted:
        raise InputError(f"{path} sets {key} in a way that is not changed from here; open it in an editor")
    return new


def written(option: click.Option, words: tuple[str, ...]) -> str:
    """What a user gives for an option, as TOML. Files are written with their whole paths.

    Args:
        option: the option.
        words: its values; more than one only where it is repeatable.

    Raises:
        click.BadParameter: they are not what the option takes.
    """
    words = tuple(_from_anywhere(option, word) for word in words)
    if option.multiple:
        settings.checked(option, list(words))
        return f"[{', '.join(map(_quoted, words))}]"
    if len(words) != 1:
        raise click.BadParameter("it takes one value; put quotes around one with spaces")
    if option.is_flag:
        return "true" if click.BOOL.convert(words[0], option, None) else "false"
    settings.checked(option, words[0])
    number = type(option.type.convert(words[0], option, None)) in (int, float)
    return words[0] if number and _is_number(words[0]) else _quoted(words[0])


def _from_anywhere(option: click.Option, word: str) -> str:
    """A file's name as it is understood in every folder."""
    if isinstance(option.type, Model):
        is_file = word not in catalogue.load() and os.path.exists(word)
    else:
        is_file = isinstance(option.type, (Existing, Lora))
    return os.path.abspath(word) if is_file and not word.startswith("~") else word


def _statements(text: str) -> Iterator[str]:
    """The text in parts that are TOML by themselves: a line, or the lines of a list or a long text."""
    part = ""
    for line in text.splitlines(keepends=True):
        # What goes on over several lines ends where a bracket or quotes close.
        if (not part or any(end in line for end in _ENDS)) and _table(part + line) is not None:
            yield part + line
            part = ""
        else:
            part += line
    if part:
        yield part


def _after_value(statement: str) -> str:
    """The comment and line end that come after the value of an assignment."""
    for at, char in enumerate(statement):
        if char == "#" and _table(statement[:at]):
            gap = statement[:at]
            return gap[len(gap.rstrip()) :] + statement[at:]
    return statement[len(statement.rstrip()) :]


def _table(text: str) -> dict[str, Any] | None:
    try:
        return toml_text.parse(text, Path())
    except InputError:
        return None


def _is_number(text: str) -> bool:
    """Whether TOML has this text for the number that the option takes it for."""
    table = _table(f"x = {text}") or {}
    return type(table.get("x")) in (int, float)


def _quoted(text: str) -> str:
    # TOML's basic strings are JSON's, but for the one control character that JSON lets stand.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
