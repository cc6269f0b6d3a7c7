"""Text from anywhere made safe to show: what a terminal would obey is escaped."""

from __future__ import annotations

from collections.abc import Collection


def printable(text: str, kept: Collection[str] = ()) -> str:
    r"""``text`` with every character that is not printable, but for those ``kept``, as an escape.

    Control characters (U+0000 to U+001F, U+007F to U+009F), line and paragraph separators, marks that turn
    the direction of writing and lone surrogates become ``\x1b``, ``\u202e`` and the like.
    """
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
