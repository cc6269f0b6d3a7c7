"""Numbers as people write them, read alike on the command line and in files."""

from __future__ import annotations

import re

_WHOLE = re.compile(r"([+-]?[0-9]{1,30})(\.0*)?")
_REAL = re.compile(r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,3})?")


def whole(text: str) -> int | None:
    """A whole number, or None: ``7``, ``-1``, and ``20.0``, which spreadsheets and pandas write."""
    match = _WHOLE.fullmatch(text.strip())
    return int(match[1]) if match else None


def real(text: str) -> float | None:
    """A decimal number, or None: ``7``, ``7.5``, ``.5``, ``1e-3``."""
    word = text.strip()
    return float(word) if _REAL.fullmatch(word) else None
