"""Names of files in a model's folder, none of which leads out of that folder."""

from __future__ import annotations

import re

MOST = 200
"""The most characters of a name: file systems take 255, and the ending ``.part.json`` needs some."""

_PATTERN = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)*", re.ASCII)
_OURS = re.compile(r"(?:^manifest\.json|\.part|\.part\.json|\.link)$", re.IGNORECASE)
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
"""Names that Windows gives to devices in every folder."""


def fault(name: str) -> str | None:
    """Why a file of a model cannot have this name, with '/' between folders; None if it can."""
    if len(name) > MOST:
        return f"it has more than {MOST} characters"
    if not _PATTERN.fullmatch(name):
        return "only letters, digits, '_', '.', '-' and '/' between them are taken"
    if _OURS.search(name):
        return "sdgen keeps its own notes under such names"
    if any(part.endswith(".") or _DEVICE.fullmatch(part) for part in name.split("/")):
        return "Windows has no such files"
    return None
