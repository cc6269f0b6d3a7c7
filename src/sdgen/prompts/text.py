"""Text files: a prompt a line, or AUTOMATIC1111's flags.

A line of flags is read as scripts/prompts_from_file.py of AUTOMATIC1111/stable-diffusion-webui 1.10 does it
(``cmdargs``: shell quoting, a prompt reaches to the next word that begins with ``--``), with its names of
flags and with sdgen's names of fields. There any line with ``--`` in it may be flags and falls back to being
a prompt; here flags begin the line, and what cannot be read is wrong.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Any

from sdgen.prompts import fields
from sdgen.prompts.entries import Entry, Fault, Unusable

_FLAG_INSIDE = re.compile(r"\s--([A-Za-z][\w-]*)(?=[\s=])")


def entries(lines: Iterable[tuple[int, str] | Fault]) -> Iterator[Entry | Fault]:
    """An entry for each line that is neither blank nor a comment."""
    for item in lines:
        if isinstance(item, Fault):
            yield item
            continue
        number, text = item[0], item[1].strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("--"):
            yield _flags(number, text)
        elif flag := next((f for f in _FLAG_INSIDE.findall(text) if fields.canonical(f)), None):
            yield Fault(number, f'--{flag} follows a prompt; write --prompt "..." --{flag} ...')
        else:
            yield Entry(number, {"prompt": text})


def _flags(number: int, text: str) -> Entry | Fault:
    try:
        words = shlex.split(text)
    except ValueError:
        return Fault(number, "a quotation mark or an escape is not closed")
    found: dict[str, Any] = {}
    name = ""
    values: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found[name] = Unusable("is given twice") if name in found else None
            values[name] = [value] if equals else []
        else:
            values[name].append(word)
    for name, parts in values.items():
        if found[name] is None:
            found[name] = " ".join(parts) if parts else Unusable("has no value")
    return Entry(number, found)
