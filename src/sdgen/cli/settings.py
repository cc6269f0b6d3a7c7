"""config.toml: the user's own defaults for the drawing options."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from sdgen.cli import guesses
from sdgen.errors import InputError
from sdgen.files import folders, toml_text
from sdgen.files.user_files import read_regular

_LONGEST = 100
"""Characters of a key that are compared with those that there are."""


def default_file() -> Path:
    """Where the settings file is looked for when none is named."""
    return folders.config() / "config.toml"


def chosen_file() -> Path | None:
    """The file that ``SDGEN_CONFIG`` names, if it does."""
    chosen = os.environ.get("SDGEN_CONFIG")
    return Path(chosen) if chosen else None


def read(file: Path | None, options: Iterable[click.Option]) -> dict[str, Any]:
    """The settings as a click default map: parameter name to value, as text or bool.

    Args:
        file: the file; None for the default one, which need not exist.
        options: those that may be set. A key is an option's long name: ``batch-size = 4``.

    Raises:
        InputError: the file is missing or broken, or a key or value is wrong; the message names file,
            key and what is allowed.
    """
    path = file or default_file()
    known = {key_of(option): option for option in options}
    values = {}
    for key, value in toml_text.parse(text_of(path, file is None), path).items():
        option = find(key, known, path)
        try:
            values[str(option.name)] = checked(option, value)
        except click.BadParameter as error:
            raise InputError(f"{path}: {key}: {error.message}", key) from None
    return values


def find(key: str, known: Mapping[str, click.Option], path: Path) -> click.Option:
    """The option that a key of the file sets.

    Raises:
        InputError: there is none.
    """
    if key not in known:
        advice = guesses.option(key[:_LONGEST], known) or f"the keys are {', '.join(known)}"
        raise InputError(f"{path}: unknown key {reprlib.repr(key)}; {advice}", key)
    return known[key]


def key_of(option: click.Option) -> str:
    """An option's key in the settings file: its long name without the dashes."""
    return next(name for name in option.opts if name.startswith("--"))[2:]


def text_of(path: Path, missing_is_fine: bool) -> str:
    """What the file says; nothing where it is not there and that is fine.

    Raises:
        InputError: it is missing or cannot be read.
    """
    if missing_is_fine:
        data = folders.read_settings(path) or b""
    else:
        try:
            data = read_regular(path, folders.MOST_SETTINGS)
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such settings file") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}") from None


def checked(option: click.Option, value: Any) -> str | bool | list[str]:
    """The value as click takes it; ``click.BadParameter`` says what is wrong with it."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise click.BadParameter(f"{reprlib.repr(value)} is not true or false")
        return value
    if option.multiple:
        return [_text(option, item) for item in (value if isinstance(value, list) else [value])]
    return _text(option, value)


def _text(option: click.Option, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise click.BadParameter(f"{reprlib.repr(value)} is not a single number or text")
    text = str(value)
    if not text:
        raise click.BadParameter("it is empty; leave the line out instead")
    option.type.convert(text, option, None)
    return text
