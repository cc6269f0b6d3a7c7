"""TOML that a user writes, read in a time that its length bounds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from sdgen.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_DOTS = 200
"""Dots of one line. tomllib's time grows with the square of a key's parts: 32,000 take half a minute."""


def parse(text: str, path: Path) -> dict[str, Any]:
    """The table that TOML text holds.

    Raises:
        InputError: it is no TOML, or a line has more than ``MOST_DOTS`` dots; the message names ``path``.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > MOST_DOTS:
            raise InputError(f"{path}: line {number} has more than {MOST_DOTS} dots; break it up")
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and what tomllib lets out beside it.
        raise InputError(f"{path} is not valid TOML: {error}") from None
    return table
