"""Colour words: recolouring an image so that a word is true of it, and telling which word is true.

Images are float tensors (batch, 3, height, width) in 0..1 on a white background; hues are in 0..1.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

HUES = {
    "red": 2,
    "orange": 28,
    "yellow": 50,
    "green": 120,
    "teal": 178,
    "blue": 215,
    "purple": 275,
    "pink": 330,
}
"""The hue, in degrees, that each chromatic word is recoloured to; the nearest one names an image."""

SHADES = ("black", "white", "brown", "gray")
COLOURS = (*HUES, *SHADES)
SPELLINGS = {"teal": ("teal", "turquoise", "cyan"), "purple": ("purple", "violet"), "gray": ("gray", "grey")}
WORDS = {*COLOURS, "grey", "violet", "turquoise", "cyan"}

_BROWN_HUE = 25
_RESIDUAL = 0.25  # how much of the spread of hues around the dominant one a recoloured image keeps


def hsv_from_rgb(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(batch, 3, h, w) in 0..1 -> hue, saturation, value, each (batch, h, w) in 0..1."""
    value, largest = rgb.max(1)
    spread = value - rgb.amin(1)
    red, green, blue = rgb.unbind(1)
    divisor = spread.clamp_min(1e-6)
    sector = torch.where(
        largest == 0,
        ((green - blue) / divisor) % 6,
        torch.where(largest == 1, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    return sector / 6, spread / value.clamp_min(1e-6), value


def rgb_from_hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Inverse of hsv_from_rgb; hue wraps around."""
    sector = (hue % 1) * 6

    def channel(offset: int) -> Tensor:
        place = (offset + sector) % 6
        return value - value * saturation * torch.minimum(place, 4 - place).clamp(0, 1)

    return torch.stack([channel(5), channel(3), channel(1)], 1)


@dataclasses.dataclass(frozen=True)
class Dominant:
    """What colour an image has; every field is (batch,).

    Attributes:
        hue: circular mean of the hues, weighted by saturation x value.
        agreement: length of that mean, 1 where all hues are the same.
        coverage: share of the foreground that is coloured.
        saturation: mean over the coloured pixels.
        value: mean over the coloured pixels.
    """

    hue: Tensor
    agreement: Tensor
    coverage: Tensor
    saturation: Tensor
    value: Tensor


def dominant(rgb: Tensor) -> Dominant:
    """The dominant colour of the pixels that are not background."""
    hue, saturation, value = hsv_from_rgb(rgb)
    coloured = ((saturation > 0.25) & (value > 0.15)).float()
    weight = coloured * saturation * value
    angle = hue * 2 * math.pi
    across, up = (weight * angle.cos()).sum((1, 2)), (weight * angle.sin()).sum((1, 2))
    count = coloured.sum((1, 2)).clamp_min(1)
    foreground = (rgb.amin(1) < 0.95).float().sum((1, 2)).clamp_min(1)
    return Dominant(
        hue=(torch.atan2(up, across) / (2 * math.pi)) % 1,
        agreement=torch.hypot(across, up) / weight.sum((1, 2)).clamp_min(1e-6),
        coverage=coloured.sum((1, 2)) / foreground,
        saturation=(coloured * saturation).sum((1, 2)) / count,
        value=(coloured * value).sum((1, 2)) / count,
    )


def nearest_hue(hue: Tensor) -> Tensor:
    """(batch,) hues -> (batch,) indices into HUES."""
    named = torch.tensor(list(HUES.values()), device=hue.device) / 360
    distance = (hue[:, None] - named).abs()
    return torch.minimum(distance, 1 - distance).argmin(1)


def names(rgb: Tensor) -> list[str | None]:
    """The colour word that is true of each image, None where no single one is."""
    found = dominant(rgb)
    nearest = nearest_hue(found.hue).tolist()
    answers: list[str | None] = []
    for k in range(len(rgb)):
        word = list(HUES)[nearest[k]]
        if found.coverage[k] < 0.4 or found.agreement[k] < 0.85:
            answers.append(None)
        elif word in ("orange", "red") and found.value[k] < 0.62:
            answers.append("brown" if word == "orange" or found.hue[k] > 0.025 else word)
        elif word == "red" and found.saturation[k] < 0.5:
            answers.append("pink")
        else:
            answers.append(word)
    return answers


def recolour(rgb: Tensor, colour: Tensor) -> Tensor:
    """Repaints each image in COLOURS[colour[k]]; -1 leaves it as it is.

    A chromatic colour turns the dominant hue to the word's hue and draws the other hues towards it. An image
    with little colour is tinted instead. White stays white, and so do the background and the whites of eyes.

    Args:
        rgb: (batch, 3, h, w) in 0..1.
        colour: (batch,) int64.
    """
    found = dominant(rgb)
    hue, saturation, value = hsv_from_rgb(rgb)
    index = {name: k for k, name in enumerate(COLOURS)}
    targets = torch.tensor([*HUES.values(), 0, 0, _BROWN_HUE, 0], device=rgb.device) / 360

    def is_colour(name: str) -> Tensor:
        return (colour == index[name])[:, None, None]

    away = (hue - found.hue[:, None, None] + 0.5) % 1 - 0.5
    hue = targets[colour.clamp_min(0)][:, None, None] + _RESIDUAL * away
    painted = torch.maximum(saturation / 0.2, (0.97 - value) / 0.1).clamp(0, 1)
    grey = (found.coverage < 0.3)[:, None, None]
    saturation = torch.where(grey, torch.maximum(saturation, 0.65 * painted), saturation)
    dull = (found.value < 0.55)[:, None, None] | (grey & (value < 0.6))
    value = torch.where(dull, value.clamp_min(1e-6) ** 0.7, value)

    green = is_colour("green") | is_colour("teal")
    pink, black, white, brown, gray = map(is_colour, ("pink", "black", "white", "brown", "gray"))
    saturation = torch.where(pink, saturation * 0.65, saturation)
    saturation = torch.where(black, saturation * 0.25, saturation)
    saturation = torch.where(white, saturation * 0.1, saturation)
    saturation = torch.where(brown, (saturation * 0.5 + 0.3).clamp_max(0.75), saturation)
    saturation = torch.where(gray, torch.zeros_like(saturation), saturation)
    value = torch.where(green, value * 0.85, value)
    value = torch.where(pink, value**0.7, value)
    value = torch.where(black, value * 0.33, value)
    value = torch.where(white, 0.8 + 0.18 * value, value)
    value = torch.where(brown, value * 0.62, value)
    value = torch.where(gray, value * 0.75, value)

    repainted = torch.lerp(rgb, rgb_from_hsv(hue, saturation, value), painted[:, None])
    return torch.where((colour < 0)[:, None, None, None], rgb, repainted)


def recolourable(rgb: Tensor) -> Tensor:
    """(batch,) bool: whether recolour() visibly changes most of the image."""
    _, saturation, value = hsv_from_rgb(rgb)
    found = dominant(rgb)
    foreground = rgb.amin(1) < 0.95
    tintable = (saturation > 0.25) | ((found.coverage < 0.3)[:, None, None] & (value < 0.9))
    visible = foreground & tintable & (value > 0.3)
    return visible.float().sum((1, 2)) > 0.4 * foreground.float().sum((1, 2))
