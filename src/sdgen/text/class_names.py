"""The 1,000 classes of ImageNet (ILSVRC 2012) by number and name.

data/imagenet_classes.txt has a line for each, in the order of their numbers: the names that WordNet has for
it, with commas between.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping
from importlib import resources

from sdgen.errors import InputError

CLASSES = 1000
_MOST_SHOWN = 60


def class_number(text: str, classes: int = CLASSES, field: str = "prompt") -> int:
    """The number of the class that a text means: a number, a name, or all of a class's names with commas.

    Case, and whether there are spaces, hyphens or underscores between words, do not matter.

    Args:
        text: what was given.
        classes: how many there are; names are known of 1,000 alone.
        field: where it was given, for the error.

    Raises:
        InputError: it means none, or several.
    """
    given = text.strip()
    if re.fullmatch(r"[0-9]{1,9}", given):
        if int(given) < classes:
            return int(given)
        raise InputError(f"{field} {given} is no class; the classes are 0 to {classes - 1}", field)
    known = _numbers() if classes == CLASSES else {}
    found = known.get(_plain(given), ())
    if len(found) == 1:
        return found[0]
    shown = repr(given if len(given) <= _MOST_SHOWN else f"{given[:_MOST_SHOWN]}...")
    if found:
        several = " and ".join(f"{number} ({class_name(number)})" for number in found)
        raise InputError(f"{field} {shown} is a name of the classes {several}; give the number", field)
    named = f", or a name of one, such as {class_name(1).partition(',')[0]}" if known else ""
    near = difflib.get_close_matches(_plain(given)[:_MOST_SHOWN], known, n=3, cutoff=0.7)
    guess = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise InputError(
        f"{field} {shown} is no class{guess}; give a number from 0 to {classes - 1}{named}", field
    )


def class_name(number: int) -> str:
    """The names of a class, with commas between."""
    return _names()[number]


@functools.cache
def _names() -> tuple[str, ...]:
    text = resources.files("sdgen.text").joinpath("data/imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


@functools.cache
def _numbers() -> Mapping[str, tuple[int, ...]]:
    """The numbers of the classes that have a name, by every name in small letters."""
    found: dict[str, dict[int, None]] = {}
    for number, names in enumerate(_names()):
        # Two classes are called crane, and have (bird) or (machine) behind it.
        spellings = {*names.split(", "), names, names.partition(" (")[0]}
        for name in spellings:
            found.setdefault(_plain(name), {})[number] = None
    return {name: tuple(numbers) for name, numbers in found.items()}


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\s_,-]+", name.strip().lower()))
