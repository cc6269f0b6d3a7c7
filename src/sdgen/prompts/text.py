"""Text files: a prompt a line, or flags, as AUTOMATIC1111 or sd-scripts write them.

A line that begins with a flag is read as scripts/prompts_from_file.py of
AUTOMATIC1111/stable-diffusion-webui 1.10 does it (``cmdargs``: shell quoting, the next word is a flag's value
whatever it is, and a value reaches to the next word that begins with ``--``), with its names of flags and
with sdgen's names of fields. There any line with ``--`` in it may be flags and falls back to being a prompt;
here what cannot be read is wrong.

Flags after a prompt are those of kohya-ss/sd-scripts, library/train_util.py (``line_to_prompt_dict``) and
gen_img.py: one letter or two, no quoting. Others there, such as Midjourney's, are refused, for they would
otherwise be drawn as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from sdgen.prompts import fields
from sdgen.prompts.entries import Entry, Fault, Unusable
from sdgen.text import numerals

_TRAILING: dict[str, str] = {
    "w": "width",
    "h": "height",
    "d": "seed",
    "s": "steps",
    "l": "guidance",
    "n": "negative_prompt",
    "ss": "sampler",
}
"""sd-scripts' flags after a prompt."""

_UNREAD = frozenset(
    {"g", "cn", "ctr", "rcfg", "fs", "ow", "oh", "nw", "nh", "ct", "cl", "nl", "t", "c", "am", "f", "dsd1"}
    | {"dst1", "dsd2", "dst2", "dsr", "glt", "glr", "gle", "gls", "glsn", "glus"}
)
"""Further flags of sd-scripts, which nothing here corresponds to."""

_FLAG = re.compile(r"\s+--(?=[A-Za-z])")
_PIECE = re.compile(
    r"""
      (?P<space>[ \t\r\n]+)
    | (?P<plain>[^ \t\r\n'"\\]+)
    | \\(?P<escaped>.)
    | '(?P<single>[^']*)'
    | "(?P<double>[^"\\]*(?:\\.[^"\\]*)*)"
    """,
    re.VERBOSE | re.DOTALL,
)


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
        elif _FLAG.search(text):
            yield _trailing(number, text)
        else:
            yield Entry(number, {"prompt": text})


def flag_in(prompt: str) -> str | None:
    """The first word of a prompt that a prompts file would take for a flag, dashes and all."""
    found = _FLAG.search(prompt)
    return "--" + prompt[found.end() :].split(maxsplit=1)[0] if found else None


def words(text: str) -> list[str]:
    """``shlex.split(text)``, which takes three seconds for a megabyte.

    Raises:
        ValueError: a quotation mark or an escape is not closed.
    """
    found: list[str] = []
    word: list[str] | None = None
    at = 0
    while at < len(text):
        piece = _PIECE.match(text, at)
        if piece is None:
            raise ValueError("not closed")
        at = piece.end()
        if piece.lastgroup == "space":
            if word is not None:
                found.append("".join(word))
            word = None
            continue
        part = piece[piece.lastgroup or 0]
        word = [] if word is None else word
        word.append(re.sub(r'\\(["\\])', r"\1", part) if piece.lastgroup == "double" else part)
    return found if word is None else [*found, "".join(word)]


def _flags(number: int, text: str) -> Entry | Fault:
    try:
        rest = words(text)
    except ValueError:
        return Fault(number, "a quotation mark or an escape is not closed")
    found: dict[str, Any] = {}
    at = 0
    while at < len(rest):
        name, equals, value = rest[at][2:].partition("=")
        first = at + 1
        at = first if equals else first + 1
        while at < len(rest) and not rest[at].startswith("--"):
            at += 1
        parts = [*([value] if equals else []), *rest[first:at]]
        found[name] = (
            Unusable("is given twice")
            if name in found
            else " ".join(parts)
            if parts
            else Unusable("has no value")
        )
    return Entry(number, found)


def _trailing(number: int, text: str) -> Entry | Fault:
    """A prompt with flags after it."""
    prompt, *flags = _FLAG.split(text)
    found: dict[str, Any] = {"prompt": prompt}
    for flag in flags:
        name, _, value = flag.replace("\t", " ").partition(" ")
        value = value.strip()
        field = _TRAILING.get(name.lower())
        if field is None:
            return Fault(number, _refusal(name), name[:60])
        if name.lower() == "n" and numerals.whole(value) is not None:
            return Fault(
                number,
                f"--n after a prompt is sd-scripts' negative prompt, not a number; "
                f'for {value} images write --prompt "..." --count {value}',
            )
        found[field] = (
            Unusable("is given twice") if field in found else value or Unusable(f"(--{name}) has no value")
        )
    return Entry(number, found)


def _refusal(flag: str) -> str:
    """Why a flag after a prompt is not read."""
    name, equals, _ = flag.partition("=")
    name = name[:60]
    if equals and name in _TRAILING:
        return f"--{name} takes its value after a space, not after ="
    if fields.canonical(name):
        return f'--{name} follows a prompt; write --prompt "..." --{name} ...'
    if name.lower() in _UNREAD:
        return f"sd-scripts' --{name} has no counterpart here; leave it out"
    return (
        f"--{name} follows a prompt, where only --{', --'.join(_TRAILING)} are read; leave it out, or write "
        f'--prompt "... --{name} ..." if it is text'
    )
