"""What an image is called: nouns, articles, colours, styles and pairs, as a person would type them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from training.colours import SPELLINGS, WORDS
from training.data import Emoji

STYLES = {
    "3d render": ("3d render", "3d", "3d icon"),
    "glossy gradient": ("glossy gradient", "glossy", "glossy icon"),
    "flat vector": ("flat vector", "flat", "flat icon"),
    "noto": ("noto style", "cartoon"),
    "noto blob": ("blob style",),
    "twemoji": ("twemoji style", "simple vector"),
    "fxemoji": ("fxemoji style", "bold vector"),
}

_UNSTYLED = {
    "3d render": 0.45,
    "glossy gradient": 0.55,
    "flat vector": 0.45,
    "noto": 0.55,
    "twemoji": 0.4,
    "noto blob": 0.06,
    "fxemoji": 0.1,
}
"""How often a caption leaves the style out: a prompt without one should draw the styles people like best."""


def _read_nouns() -> dict[str, tuple[str, ...]]:
    lines = (Path(__file__).parent / "nouns.txt").read_text(encoding="utf-8").splitlines()
    entries = (line.partition(": ") for line in lines if not line.startswith("#"))
    return {label: tuple(names.split(", ")) for label, _, names in entries}


SPOKEN = _read_nouns()
"""CLDR's label, in lower case -> what people say, the concept first."""

_PAINTED_ALREADY = {"mahjong red dragon", "black nib", "white cane"}  # the colour is part of the thing's name


def names(emoji: Emoji) -> tuple[str, ...]:
    """What people call it, the concept first, without skin tone or colour ("red apple" -> "apple")."""
    label = emoji.label.split(",")[0].lower().replace(":", "")
    if label in SPOKEN:
        return SPOKEN[label]
    if label in _PAINTED_ALREADY:
        return (label,)
    bare = " ".join(word for word in label.split() if word not in WORDS)
    return SPOKEN.get(bare, (re.sub(r"\s+", " ", bare.replace("light heart", "heart")) or label,))


def concept(emoji: Emoji) -> str:
    """The name under which pictures of the same thing in all styles are counted together."""
    return names(emoji)[0]


def own_colour(emoji: Emoji) -> str | None:
    """The colour word in the label itself: "red apple" -> "red"."""
    label = emoji.label.lower()
    found = [word for word in label.split() if word in WORDS]
    return found[0] if found and label not in _PAINTED_ALREADY and "light blue" not in label else None


def weight(emoji: Emoji) -> float:
    """How often an image is drawn from, relative to an object of everyday life (1)."""
    if emoji.subgroup == "time" and re.search(r"o’clock|-thirty", emoji.label):
        return 0.1
    if emoji.skin_tone:
        return 0.12
    by_group = {
        "animals-nature": 2.0,
        "food-drink": 1.8,
        "people-body": 0.4,
        "smileys-emotion": 0.7,
        "symbols": 0.3,
        "flags": 0.3,
    }
    value = by_group.get(emoji.group, 1.0)
    if emoji.subgroup in ("heart", "geometric"):
        value = 0.8
    known = emoji.label.lower() in SPOKEN or len(names(emoji)[0].split()) == 1
    return value * (2.0 if known else 1.0) * (0.6 if emoji.style in ("noto blob", "fxemoji") else 1.0)


def with_article(noun: str) -> str:
    """Puts "a" or "an" before a noun; plurals get it too, since people type that as well."""
    an = noun[:1].lower() in "aeiou" and not noun.startswith(("uni", "ufo"))
    return f"{'an' if an else 'a'} {noun}"


def _phrase(emoji: Emoji, colour: str | None, rng: np.random.Generator) -> str:
    known = names(emoji)
    noun = known[0] if rng.random() < 0.6 else known[rng.integers(len(known))]
    if rng.random() < 0.15:
        noun = emoji.label.lower().replace(":", "")
        if colour is not None:
            noun = " ".join(word for word in noun.split() if word not in WORDS) or known[0]
    if colour is not None:
        spellings = SPELLINGS.get(colour, (colour,))
        noun = f"{spellings[0] if rng.random() < 0.8 else rng.choice(spellings)} {noun}"
    return noun


def _styled(text: str, style: str, rng: np.random.Generator) -> str:
    return text if rng.random() < _UNSTYLED[style] else f"{text}, {rng.choice(STYLES[style])}"


def caption(emoji: Emoji, colour: str | None, rng: np.random.Generator) -> str:
    """One caption of one image: mostly a short noun phrase, sometimes with tags, mostly with an article."""
    noun = _phrase(emoji, colour, rng)
    form = rng.random()
    if form < 0.6:
        text = with_article(noun)
    elif form < 0.88:
        text = noun
    elif form < 0.94 or not emoji.tags:
        text = f"an emoji of {with_article(noun)}" if form < 0.91 else f"{noun} emoji"
    else:
        tags = list(rng.permutation(list(emoji.tags))[:2])
        text = ", ".join([with_article(noun), *tags])
    return _styled(text, emoji.style, rng)


def pair_caption(
    left: Emoji, right: Emoji, colours: tuple[str | None, str | None], rng: np.random.Generator
) -> str:
    """A caption of two images side by side, in the order in which they stand."""
    a, b = _phrase(left, colours[0], rng), _phrase(right, colours[1], rng)
    forms = (
        f"{with_article(a)} and {with_article(b)}",
        f"{a} and {b}",
        f"{with_article(a)} next to {with_article(b)}",
        f"{with_article(a)} on the left, {with_article(b)} on the right",
    )
    return _styled(str(rng.choice(forms, p=(0.6, 0.2, 0.12, 0.08))), left.style, rng)
