"""Numbers with nouns."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """``1 image``, ``1,200 images``, ``2 batches``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
