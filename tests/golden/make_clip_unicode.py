"""Write src/sdgen/text/data/clip_unicode.json: the Unicode tables behind transformers' CLIPTokenizer.

The tokenizers library carries its own, fixed Unicode data (letters and numbers of version 16, lower case of
17, normalisation of 9), while Python's moves with its version. The tables make every Python agree with it.

    pip install tokenizers unicodedata2
    python tests/golden/make_clip_unicode.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import unicodedata2
from tokenizers import Regex, normalizers, pre_tokenizers

TABLES = Path(__file__).parents[2] / "src/sdgen/text/data/clip_unicode.json"
SCALARS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
MARKS = "\u0323\u0301\u05b0\u3099\u0345\u094d\u0f71\u0315\u0334\U0001d165"
"""Combining marks of ten combining classes: a newer mark changes places with one of them."""


def character_class(characters: Iterable[str]) -> str:
    """The inside of a regular expression's [...]; the characters here need no escape in it."""
    runs: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return "".join(chr(low) if low == high else f"{chr(low)}-{chr(high)}" for low, high in runs)


def matching(pattern: str) -> str:
    """Every character that the library's regular expression engine matches."""
    split = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    pieces = (split.pre_tokenize_str("".join(SCALARS[at : at + 4096])) for at in range(0, len(SCALARS), 4096))
    return character_class(character for piece in pieces for word, _ in piece for character in word)


def unnormalized() -> str:
    """Characters that a newer Unicode reorders or composes and the library leaves alone."""
    nfc, nfd = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str
    found = set()
    for character in SCALARS:
        parts = unicodedata2.normalize("NFD", character)
        if parts != nfd(character):
            found |= {character, parts[0]}
            continue
        pairs = (f"q{text}" for mark in MARKS for text in (mark + character, character + mark))
        if any(nfc(pair) != unicodedata2.normalize("NFC", pair) for pair in pairs):
            found.add(character)
    return character_class(found)


def main() -> None:
    lowercase = normalizers.Lowercase().normalize_str
    changed = [character for character in SCALARS if lowercase(character) != character]
    tables = {
        "letters": matching(r"\p{L}"),
        "numbers": matching(r"\p{N}"),
        "unnormalized": unnormalized(),
        "lowercase": {character: lowercase(character) for character in changed},
    }
    TABLES.write_text(json.dumps(tables, separators=(",", ":")) + "\n", encoding="ascii")
    print(f"{TABLES}: {TABLES.stat().st_size} bytes")


if __name__ == "__main__":
    main()
