"""What the denoiser is shown: recoloured, jittered and paired pictures as latents, captions as tokens."""

from __future__ import annotations

import argparse
import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTokenizer

from training import captions, colours, data, models
from training.data import Emoji
from training.progress import Budget, log

CAPTIONS = 4
"""Captions written for each example."""

PAIR_WEIGHT = 0.25  # of all examples
_RECOLOURED, _RECOLOURED_FACE, _NAMED = 0.4, 0.08, 0.3


class Encoder:
    """Text to token ids, padded to 77; remembers words, because captions share them."""

    def __init__(self, tokens: CLIPTokenizer) -> None:
        self._tokens = tokens
        self._words: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        """77 ids: begin, the words, end, and the end token as padding."""
        ids = [self._tokens.bos_token_id]
        for word in text.split():
            if word not in self._words:
                self._words[word] = self._tokens(word, add_special_tokens=False).input_ids
            ids += self._words[word]
        end = self._tokens.eos_token_id
        return ids[:76] + [end] * (77 - len(ids[:76]))


@dataclasses.dataclass(frozen=True)
class Examples:
    """The training set of the denoiser.

    Attributes:
        latents: (examples, channels, 32, 32) float16.
        tokens: (examples, CAPTIONS, 77) int16.
    """

    latents: Tensor
    tokens: Tensor

    def save(self, file: Path) -> None:
        """Writes both tensors."""
        torch.save({"latents": self.latents.cpu(), "tokens": self.tokens.cpu()}, file)

    @classmethod
    def load(cls, file: Path, device: torch.device) -> Examples:
        """Reads both tensors onto a device."""
        return cls(**torch.load(file, map_location=device, weights_only=True))


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which picture, or two side by side, in which colours, under which captions.

    Attributes:
        pictures: (examples, 2) int64; the second is -1 for a single.
        paint: (examples, 2) int64, indices into COLOURS; -1 leaves a picture its own.
        tokens: (examples, CAPTIONS, 77) int16.
    """

    pictures: np.ndarray
    paint: np.ndarray
    tokens: np.ndarray

    def save(self, file: Path) -> None:
        """Writes the plan."""
        np.savez(file, pictures=self.pictures, paint=self.paint, tokens=self.tokens)

    @classmethod
    def load(cls, file: Path) -> Plan:
        """Reads a plan."""
        with np.load(file) as stored:
            return cls(**{name: stored[name] for name in ("pictures", "paint", "tokens")})


def natural_colours(pictures: Tensor) -> tuple[list[str | None], np.ndarray]:
    """For each picture, the colour word that is true of it, and whether it can be recoloured."""
    words: list[str | None] = []
    able = []
    for part in pictures.split(256):
        rgb = data.as_rgb(part)
        words += colours.names(rgb)
        able.append(colours.recolourable(rgb).cpu())
    return words, torch.cat(able).numpy()


def plan(
    rows: list[Emoji], natural: list[str | None], able: np.ndarray, encode: Encoder, count: int, seed: int = 0
) -> Plan:
    """Draws ``count`` examples; every picture comes up at least once among the singles if they are enough."""
    rng, coin = np.random.default_rng(seed), random.Random(seed)
    weights = np.array([captions.weight(row) for row in rows])
    pairs = int(count * PAIR_WEIGHT)
    singles = count - pairs
    share = weights / weights.sum() * max(0, singles - len(rows))
    often = 1 + np.floor(share + rng.random(len(rows))).astype(int)
    first = rng.permutation(np.repeat(np.arange(len(rows)), often))[:singles]
    pairs = count - len(first)
    by_style: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if (
            row.group in ("animals-nature", "food-drink", "objects", "travel-places", "activities")
            or coin.random() < 0.3
        ):
            by_style.setdefault(row.style, []).append(index)
    styles = [style for style in by_style if len(by_style[style]) > 1]
    share_of_style = np.array([weights[by_style[style]].sum() for style in styles])
    drawn = {}
    for style in styles:
        odds = weights[by_style[style]]
        drawn[style] = iter(rng.choice(by_style[style], 2 * pairs + 2, p=odds / odds.sum()).tolist())
    chosen = rng.choice(len(styles), pairs, p=share_of_style / share_of_style.sum()) if styles else []
    sides = [(int(index), -1) for index in first]
    sides += [(next(drawn[styles[k]]), next(drawn[styles[k]])) for k in chosen]

    def paint(index: int, likely: float) -> tuple[int, str | None]:
        row = rows[index]
        if row.group == "people-body":
            return -1, None
        likely = _RECOLOURED_FACE if row.subgroup.startswith("face") else likely
        if able[index] and coin.random() < likely:
            name = coin.choice((*colours.HUES, *colours.HUES, *colours.HUES, *colours.SHADES))
            return colours.COLOURS.index(name), name
        own = captions.own_colour(row)
        if own:
            return -1, own if coin.random() < 0.7 else None
        return -1, natural[index] if coin.random() < _NAMED else None

    paints, tokens = [], np.empty((len(sides), CAPTIONS, 77), np.int16)
    for k, (a, b) in enumerate(sides):
        left, left_word = paint(a, _RECOLOURED if b < 0 else 0.15)
        if b < 0:
            right = -1
            texts = [captions.caption(rows[a], left_word, rng) for _ in range(CAPTIONS)]
        else:
            right, right_word = paint(b, 0.15)
            texts = [
                captions.pair_caption(rows[a], rows[b], (left_word, right_word), rng) for _ in range(CAPTIONS)
            ]
        paints.append((left, right))
        tokens[k] = [encode(text) for text in texts]
    return Plan(np.array(sides), np.array(paints), tokens)


def _compose(pictures: Tensor, which: Tensor, paint: Tensor) -> Tensor:
    """The pictures of one batch of the plan, (batch, 3, 256, 256) in 0..1."""
    left = colours.recolour(data.as_rgb(pictures[which[:, 0]]), paint[:, 0])
    single = data.jitter(left, 0.86, 1.04, 0.15)
    paired = (which[:, 1] >= 0).nonzero()[:, 0]
    if len(paired):
        right = colours.recolour(data.as_rgb(pictures[which[paired, 1]]), paint[paired, 1])
        halves = [F.avg_pool2d(data.jitter(half, 0.95, 1.1, 0.15), 2) for half in (left[paired], right)]
        row = torch.cat(halves, 3)
        margin = single.shape[2] - row.shape[2]
        single[paired] = F.pad(row, (0, 0, margin // 2, margin - margin // 2), value=1.0)
    return single.clamp(0, 1)


def composed(pictures: Tensor, planned: Plan, batch: int = 256) -> Iterator[Tensor]:
    """The planned pictures in batches, (batch, 3, 256, 256) in 0..1."""
    which = torch.from_numpy(planned.pictures).to(pictures.device)
    paint = torch.from_numpy(planned.paint).to(pictures.device)
    for start in range(0, len(which), batch):
        yield _compose(pictures, which[start : start + batch], paint[start : start + batch])


@torch.no_grad()
def encode_all(vae: AutoencoderKL, pictures: Tensor, planned: Plan) -> Examples:
    """Carries out the plan."""
    device = pictures.device
    parts = []
    for rgb in composed(pictures, planned):
        with models.autocast(device):
            parts.append(
                vae.encode((rgb * 2 - 1).contiguous(memory_format=torch.channels_last)).latent_dist.mean
            )
    latents = torch.cat([part.half() for part in parts])
    return Examples(latents * vae.config.scaling_factor, torch.from_numpy(planned.tokens).to(device))


def main() -> None:
    """Plans the examples: needs no accelerator, so it can run while the VAE trains."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="emoji256.tar")
    parser.add_argument("--work", type=Path, required=True, help="folder of this run")
    parser.add_argument("--base", type=Path, required=True, help="diffusers folder with the tokenizer")
    parser.add_argument("--examples", type=int, default=200_000)
    parser.add_argument("--limit", type=int, default=0, help="use about this many pictures")
    arguments = parser.parse_args()
    clock = Budget(1)
    rows, pictures = data.load(arguments.data, arguments.work / "pictures.npy", arguments.limit)
    natural, able = natural_colours(pictures)
    encode = Encoder(models.tokenizer(arguments.base))
    planned = plan(rows, natural, able, encode, arguments.examples)
    planned.save(arguments.work / "plan.npz")
    log("examples", planned=len(planned.pictures), seconds=clock.spent)


if __name__ == "__main__":
    main()
