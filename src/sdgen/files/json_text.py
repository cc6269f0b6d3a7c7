"""JSON from anywhere, read within bounds, and JSON as every reader takes it, written."""

from __future__ import annotations

import json
import math
from typing import Any

MOST_DEPTH = 64
"""Levels of lists and objects in one another: what is read can be walked and written again."""


def parse(text: str | bytes) -> Any:
    """The value of a JSON text.

    NaN and Infinity, which JSON lacks and Python's writer has, are read as numbers.

    Args:
        text: in UTF-8, where it is bytes.

    Raises:
        ValueError: it is not JSON text, or nested deeper than ``MOST_DEPTH``; the message says so.
    """
    try:
        value = json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON text") from None
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise ValueError(f"its JSON is nested deeper than {MOST_DEPTH} levels")


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The object of a JSON text. ValueError as ``parse``, or if the value is no object."""
    value = parse(text)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def write(value: Any) -> str:
    """``value`` as JSON on one line, in ASCII; numbers that are not finite, which JSON lacks, become null."""
    return json.dumps(_finite(value), separators=(", ", ": "), allow_nan=False)


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
