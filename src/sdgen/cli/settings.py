"""config.toml: the user's own defaults for the drawing options."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from sdgen import folders
from sdgen.cli import guesses
from sdgen.errors import InputError


def default_file() -> Path:
    """Where the settings file is looked for when none is named."""
    return folders.config() / "config.toml"


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
    table = _parse(path, missing_is_fine=file is None)
    known = {key_of(option): option for option in options}
    values = {}
    for key, value in table.items():
        option = known.get(key)
        if option is None:
            raise InputError(f"{path}: unknown key {key!r}; {_suggestion(key, list(known))}", key)
        try:
            values[str(option.name)] = _checked(option, value)
        except click.BadParameter as error:
            raise InputError(f"{path}: {key}: {error.message}", key) from None
    return values


def key_of(option: click.Option) -> str:
    """An option's key in the settings file: its long name without the dashes."""
    return next(name for name in option.opts if name.startswith("--"))[2:]


def _parse(path: Path, missing_is_fine: bool) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        if missing_is_fine:
            return {}
        raise InputError(f"{path}: there is no such settings file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and what tomllib lets out beside it.
        raise InputError(f"{path} is not valid TOML: {error}") from None
    return table


def _checked(option: click.Option, value: Any) -> str | bool | list[str]:
    """The value as click takes it; ``click.BadParameter`` says what is wrong with it."""
    if option.is_flag:
        if not isinstance(value, bool):
            raise click.BadParameter(f"{value!r} is not true or false")
        return value
    if option.multiple:
        return [_text(option, item) for item in (value if isinstance(value, list) else [value])]
    return _text(option, value)


def _text(option: click.Option, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise click.BadParameter(f"{value!r} is not a single number or text")
    text = str(value)
    if not text:
        raise click.BadParameter("it is empty; leave the line out instead")
    option.type.convert(text, option, None)
    return text


def _suggestion(key: str, known: list[str]) -> str:
    return guesses.option(key, known) or f"the keys are {', '.join(known)}"
