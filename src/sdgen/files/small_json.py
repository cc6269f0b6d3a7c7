"""Notes that sdgen keeps for itself, small JSON objects: a damaged one, or none, is an empty one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdgen.errors import SdgenError
from sdgen.files import json_text
from sdgen.files.user_files import read_regular
from sdgen.files.whole_files import temporary

_MOST = 8 * 2**20
"""Bytes of a note that are read; what sdgen writes has far fewer."""


def read(file: Path) -> dict[str, Any]:
    """What a note says; empty if there is none, or a damaged one. Its values may be of any type."""
    try:
        return json_text.parse_object(read_regular(file, _MOST))
    except (OSError, SdgenError, ValueError):
        return {}


def write(file: Path, note: Mapping[str, Any], indent: int | None = None) -> None:
    """Replace a note in one step, making its folder.

    Raises:
        OSError: the folder cannot be made or written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    waiting = temporary(file.parent)
    try:
        waiting.write_text(json.dumps(note, indent=indent), encoding="utf-8")
        os.replace(waiting, file)
    finally:
        waiting.unlink(missing_ok=True)
