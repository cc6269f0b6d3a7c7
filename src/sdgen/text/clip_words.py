"""CLIP's words: how a text is normalised and cut before byte-pair encoding.

The rules are those of transformers' CLIPTokenizer (models/clip/tokenization_clip.py) on the tokenizers
library: NFC, runs of white space to one space, lower case, then words that are a contraction's ending, a run
of letters, one digit or a run of anything else that is not white space. The library's Unicode data is fixed
and Python's moves with its version, so the data comes from a packaged table (data/clip_unicode.json, written
by tests/golden/make_clip_unicode.py).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import unicodedata
from importlib import resources
from typing import Any

_SPACE = r"\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""Unicode's White_Space; Python's ``\\s`` has four control characters more."""

_SPELLED_OUT = {f"<|{name}|>": ("<|", name, "|>") for name in ("startoftext", "endoftext")}
"""Spellings of special tokens that are words here, and what the library's byte-level step cuts them into."""


@dataclasses.dataclass(frozen=True)
class _Rules:
    words: re.Pattern[str]
    spaces: re.Pattern[str]
    unnormalized: re.Pattern[str]
    lowercase: dict[int, str]


def normalize(text: str) -> str:
    """The text as CLIP sees it: composed (NFC), each run of white space one space, lower case."""
    rules = _rules()
    if not text.isascii():
        # Characters that are newer than the library's composition data stay as and where they are.
        parts = rules.unnormalized.split(text)
        text = "".join(unicodedata.normalize("NFC", part) for part in parts)
    return rules.spaces.sub(" ", text).translate(rules.lowercase)


def split(text: str) -> list[str]:
    """The words of a normalised text, in order. White space belongs to none."""
    found = _rules().words.findall(text)
    if "oftext|>" in text:
        found = [part for word in found for part in _SPELLED_OUT.get(word, (word,))]
    return found


@functools.cache
def _rules() -> _Rules:
    tables: dict[str, Any] = json.loads(
        resources.files("sdgen.text").joinpath("data/clip_unicode.json").read_text(encoding="ascii")
    )
    letters, numbers = tables["letters"], tables["numbers"]
    special = "|".join(map(re.escape, _SPELLED_OUT))
    words = rf"{special}|'s|'t|'re|'ve|'m|'ll|'d|[{letters}]+|[{numbers}]|[^{_SPACE}{letters}{numbers}]+"
    return _Rules(
        words=re.compile(words),
        spaces=re.compile(f"[{_SPACE}]+"),
        unnormalized=re.compile(f"([{tables['unnormalized']}])"),
        lowercase=str.maketrans(tables["lowercase"]),
    )
