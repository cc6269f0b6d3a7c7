r"""The prompt syntax of AUTOMATIC1111's web UI: weights, BREAK and LoRA tags, from text to text.

| written | means |
|---|---|
| `(fox)`, `((fox))` | weight 1.1, 1.21 |
| `[fox]`, `[[fox]]` | weight 1/1.1, 1/1.21 |
| `(fox:1.3)` | weight 1.3, multiplied by that of the brackets around it |
| `\(` `\)` `\[` `\]` `\\` | the character itself; another backslash is left out |
| `BREAK` | what follows begins a new chunk |
| `<lora:name:0.8>` | a LoRA and its scale |

A bracket that is never closed reaches to the end of the prompt; a closing one that was never opened is
text, and so is `:1.3)` without its bracket. Not part of it: prompt editing (`[from:to:when]`), alternation
(`[a|b]`) and `AND`, which are taken as text.

The meaning is that of modules/prompt_parser.py (``parse_prompt_attention``), modules/extra_networks.py and
extensions-builtin/Lora in AUTOMATIC1111/stable-diffusion-webui 1.10, with two differences: BREAK inside
brackets breaks (there it becomes text), and what cannot be understood is an error (there it is ignored or
ends the run).
"""

from __future__ import annotations

import itertools
import math
import re
from typing import NamedTuple

from sdgen.errors import InputError

EMPHASIS = 1.1
MAX_DEPTH = 100
"""Brackets open at one time. 100 unclosed ones make a weight of 13,781."""
MAX_WEIGHT = 1e6


class Segment(NamedTuple):
    """A stretch of text and its weight."""

    text: str
    weight: float


class LoraTag(NamedTuple):
    """A LoRA named in a prompt and its scales."""

    name: str
    text_encoder_scale: float
    unet_scale: float


def parse_emphasis(prompt: str) -> list[list[Segment]]:
    """Split a prompt at each BREAK, and each part into stretches of one weight.

    Neighbours of equal weight are one segment. There is at least one part and one segment in each; a part's
    text may be empty.

    Raises:
        InputError: a weight is not a number or too large, or brackets are nested too deeply.
    """
    pieces: list[tuple[str | None, float]] = []  # None is a BREAK
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def scale_from(start: int, factor: float) -> None:
        pieces[start:] = [(text, weight * factor) for text, weight in pieces[start:]]

    for match in _LEXEMES.finditer(prompt):
        lexeme, number = match[0], match[1]
        closes = {")": "(", "]": "["}.get(lexeme[-1])
        if lexeme[0] == "\\":
            pieces.append((lexeme[1:], 1.0))
        elif lexeme in opened:
            opened[lexeme].append(len(pieces))
            if sum(map(len, opened.values())) > MAX_DEPTH:
                raise InputError(
                    f"the prompt has more than {MAX_DEPTH} brackets open at one place; "
                    r"write \( and \[ for brackets that are text"
                )
        elif closes and opened[closes]:
            factor = _weight(number) if number else EMPHASIS if closes == "(" else 1 / EMPHASIS
            scale_from(opened[closes].pop(), factor)
        else:
            texts = _BREAK.split(lexeme)
            pieces.append((texts[0], 1.0))
            for text in texts[1:]:
                pieces += [(None, 1.0), (text, 1.0)]
    for bracket, factor in (("(", EMPHASIS), ("[", 1 / EMPHASIS)):
        for start in opened[bracket]:
            scale_from(start, factor)
    return [_joined(list(part)) for part in _parts(pieces)]


def extract_loras(prompt: str) -> tuple[str, tuple[LoraTag, ...]]:
    """Take the LoRA tags out of a prompt.

    `<lora:name>`, `<lora:name:scale>`, `<lora:name:text encoder's scale:UNet's scale>`, and either scale by
    name, `<lora:name:te=0.5:unet=1>`. `lyco` means the same as `lora`. A scale left out is 1, the UNet's that
    of the text encoder.

    Returns:
        The prompt without the tags, and the tags in order.

    Raises:
        InputError: a tag is of another kind, or its name or scale is missing or wrong.
    """
    end = prompt.rfind(">") + 1  # Beyond it each < would be followed to the end of the prompt.
    loras = [_lora_tag(match) for match in _TAG.finditer(prompt, 0, end)]
    return _TAG.sub("", prompt[:end]) + prompt[end:], tuple(loras)


_LEXEMES = re.compile(
    r"""
      \\[()\[\]\\]?             # an escaped bracket or backslash, or a backslash alone
    | [(\[\])]                  # a bracket
    | :\s*([+-]?[.\d]+)\s*\)    # the weight that closes a round bracket
    | [^\\()\[\]:]+             # text
    | :
    """,
    re.VERBOSE,
)
_BREAK = re.compile(r"(?:(?<!\s)\s+)?\bBREAK\b\s*")  # no run of spaces is tried twice
_TAG = re.compile(r"<(\w+):([^>]+)>")


def _weight(number: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        raise InputError(
            rf"the prompt has the weight {number!r}, which is not a number; "
            r"write \( for a bracket that is text"
        ) from None
    if not abs(weight) <= MAX_WEIGHT:
        raise InputError(f"the prompt has the weight {number}; the largest is {MAX_WEIGHT:g}")
    return weight


def _parts(pieces: list[tuple[str | None, float]]) -> list[list[Segment]]:
    """The pieces between BREAKs."""
    parts: list[list[Segment]] = [[]]
    for text, weight in pieces:
        if text is None:
            parts.append([])
        else:
            parts[-1].append(Segment(text, weight))
    return parts


def _joined(part: list[Segment]) -> list[Segment]:
    """Neighbours of equal weight as one."""
    runs = itertools.groupby(part, key=lambda segment: segment.weight)
    joined = [Segment("".join(segment.text for segment in run), weight) for weight, run in runs]
    for segment in joined:
        if not abs(segment.weight) <= MAX_WEIGHT:
            raise InputError(
                f"the weights around {segment.text[:40]!r} multiply to {segment.weight:g}; "
                f"the largest is {MAX_WEIGHT:g}"
            )
    return joined or [Segment("", 1.0)]


def _lora_tag(match: re.Match[str]) -> LoraTag:
    tag, kind = match[0], match[1]
    if kind not in ("lora", "lyco"):
        raise InputError(
            f"the prompt has the tag {tag}, of an unknown kind {kind!r}; sdgen knows <lora:name:scale>"
        )
    positional: list[str] = []
    named: dict[str, str] = {}
    for item in match[2].split(":"):
        key, equals, value = item.partition("=")
        if equals:
            named[key] = value
        else:
            positional.append(item)
    name, *scales = positional or [""]
    if not name.strip():
        raise InputError(f"the tag {tag} names no LoRA; write <lora:name:scale>")
    if len(scales) > 2 or not named.keys() <= {"te", "unet"}:
        raise InputError(f"the tag {tag} has more than a name and two scales; write <lora:name:scale>")
    text_encoder = _scale(tag, named.get("te", scales[0] if scales else "1"))
    unet = named.get("unet", scales[1] if len(scales) > 1 else None)
    return LoraTag(name, text_encoder, text_encoder if unet is None else _scale(tag, unet))


def _scale(tag: str, text: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = math.nan
    if not math.isfinite(scale):
        raise InputError(f"the tag {tag} has the scale {text!r}, which is not a number")
    return scale
