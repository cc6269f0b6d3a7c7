"""Scores models: does a picture show the thing, in the colour, in the style, and both things of a pair?

    python -m training.score --data emoji256.tar --work run old=src/sdgen/models/data/sd-mini new=run/sd-mini

The same prompts, seeds and judge (classifier.py) for every model. docs/mini.md says what a number means.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from training import captions, colours, data, models, vae
from training.classifier import Judge, scored
from training.data import Emoji
from training.draw import STEPS, Painter
from training.progress import Budget, log

PAINTED = """apple; balloon; bear; bird; boat; book; butterfly; car; cat; chair; cup of coffee; dog;
dragon; dress; elephant; fish; flower; fox; frog; guitar; hat; heart; horse; house; key; mug of beer;
octopus; rabbit; rocket; rose; star; t-shirt; train; turtle; umbrella; whale"""
"""Colour prompts: each of these in each of the eight hues."""

COMMON = """apple; banana; bear; bird; cake; car; cat; cow; dog; donut; elephant; fish; fox; frog;
hamburger; house; lion; panda; penguin; pig; pizza; rabbit; rocket; rose; strawberry; tiger; tree; turtle;
whale"""

SHEET = (Path(__file__).parent / "sheet.txt").read_text(encoding="utf-8").splitlines()
"""Prompts of the contact sheet, good and bad."""


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.replace("\n", " ").split(";")]


def label_prompts(rows: list[Emoji], count: int) -> tuple[list[str], list[str]]:
    """Prompts "a fox" and the concept each asks for, evenly over the things drawn in four styles or more."""
    seen: dict[str, set[str]] = {}
    for row in rows:
        if scored(row):
            seen.setdefault(captions.concept(row), set()).add(row.style)
    known = sorted(name for name, styles in seen.items() if len(styles) >= 4)
    chosen = np.random.default_rng(1).permutation(known)[:count].tolist()
    return [captions.with_article(name) for name in chosen], chosen


def colour_prompts(count: int) -> tuple[list[str], list[str], list[str]]:
    """Prompts "a purple cat", their colours and their nouns."""
    every = [(colour, noun) for noun in _items(PAINTED) for colour in colours.HUES]
    order = np.random.default_rng(2).permutation(len(every))[:count]
    chosen = [every[k] for k in order]
    return (
        [captions.with_article(f"{a} {b}") for a, b in chosen],
        [a for a, _ in chosen],
        [b for _, b in chosen],
    )


def style_prompts(count: int) -> tuple[list[str], list[str]]:
    """Prompts "a fox, flat vector" and their styles."""
    wanted = ("3d render", "glossy gradient", "flat vector")
    every = [(noun, style) for noun in _items(COMMON) for style in wanted][:count]
    return [f"{captions.with_article(noun)}, {style}" for noun, style in every], [style for _, style in every]


def pair_prompts(count: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Prompts "a cat and a dog" and their two concepts."""
    rng, nouns = np.random.default_rng(3), _items(COMMON)
    pairs = [tuple(nouns[k] for k in rng.choice(len(nouns), 2, replace=False)) for _ in range(count)]
    return [f"{captions.with_article(a)} and {captions.with_article(b)}" for a, b in pairs], pairs


def _halves(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Left and right half of a pair, each enlarged to the size of a picture; halves stand at mid height."""
    middle = rgb[:, :, 64:192]
    return tuple(
        F.interpolate(half, size=(256, 256), mode="bilinear")
        for half in (middle[..., :128], middle[..., 128:])
    )


def colour_hits(rgb: Tensor, wanted: list[str]) -> list[bool]:
    """Whether the hue word nearest to each picture's dominant hue is the one asked for; grey is a miss."""
    found, named = colours.dominant(rgb), list(colours.HUES)
    nearest = colours.nearest_hue(found.hue).tolist()
    return [
        named[k] == word and bool(share > 0.1)
        for k, word, share in zip(nearest, wanted, found.coverage, strict=True)
    ]


def score(painter: Painter, judge: Judge, rows: list[Emoji], unseen: Tensor, count: int) -> dict[str, float]:
    """All measures of one model, in percent but for the PSNR."""
    result: dict[str, float] = {}

    def percent(hits: object) -> float:
        return round(100 * float(np.mean(np.asarray(hits))), 1)

    result["VAE PSNR, dB"] = round(vae.psnr(painter.vae, unseen), 2)
    log("score", pictures=len(unseen), **result)

    prompts, wanted = label_prompts(rows, 4 * count)
    ranks = judge.ranks(painter(prompts), wanted)
    result["label top-1"], result["label top-5"] = percent(ranks < 1), percent(ranks < 5)
    log("score", pictures=len(prompts), **result)

    prompts, words, nouns = colour_prompts(2 * count)
    drawn = painter(prompts, seed=10_000)
    result["colour"] = percent(colour_hits(drawn, words))
    known = [k for k, noun in enumerate(nouns) if noun in judge.concepts]
    result["coloured label top-5"] = percent(judge.ranks(drawn[known], [nouns[k] for k in known]) < 5)
    log("score", pictures=len(prompts), **result)

    prompts, styles = style_prompts(count)
    result["style"] = percent(
        [a == b for a, b in zip(judge.style(painter(prompts, seed=20_000)), styles, strict=True)]
    )
    log("score", pictures=len(prompts), **result)

    prompts, pairs = pair_prompts(count)
    left, right = _halves(painter(prompts, seed=30_000))
    a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    straight = np.stack([judge.ranks(left, a) < 5, judge.ranks(right, b) < 5])
    crossed = np.stack([judge.ranks(left, b) < 5, judge.ranks(right, a) < 5])
    result["pair top-5"] = percent(np.maximum(straight.sum(0), crossed.sum(0)) / 2)

    result["score"] = round(float(np.mean([result[k] for k in ("label top-5", "colour", "pair top-5")])), 1)
    return result


def sheet(painter: Painter, file: Path, prompts: list[str], columns: int = 6, side: int = 128) -> None:
    """A contact sheet of prompts, in the order of the list."""
    drawn = F.avg_pool2d(painter(prompts, seed=7), 256 // side)
    tiles = (drawn * 255).round().byte().permute(0, 2, 3, 1).numpy()
    lines = [
        np.concatenate(tiles[k : k + columns], 1) for k in range(0, len(tiles) // columns * columns, columns)
    ]
    Image.fromarray(np.concatenate(lines, 0)).save(file)


def table(results: dict[str, dict[str, float]]) -> str:
    """The results as Markdown, one column a model."""
    measures = list(next(iter(results.values())))
    lines = ["| | " + " | ".join(results) + " |", "|---|" + "---|" * len(results)]
    lines += [
        f"| {m} | " + " | ".join(str(result[m]) for result in results.values()) + " |" for m in measures
    ]
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="NAME=FOLDER", help="diffusers folders")
    parser.add_argument("--data", type=Path, required=True, help="emoji256.tar")
    parser.add_argument("--work", type=Path, required=True, help="folder with classifier.safetensors")
    parser.add_argument(
        "--count", type=int, default=128, help="prompts of a kind (four times as many labels)"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="sampling steps of a picture")
    parser.add_argument("--held-out", type=int, default=0, help="pictures of the PSNR; 0 takes all held out")
    parser.add_argument("--no-sheet", action="store_true", help="draw no contact sheet")
    arguments = parser.parse_args()
    device = models.device()
    rows, pictures = data.load(arguments.data, arguments.work / "pictures.npy")
    unseen = pictures[data.held_out(len(pictures))]
    if arguments.held_out:
        unseen = unseen[:: max(1, len(unseen) // arguments.held_out)]
    judge = Judge(arguments.work / "classifier.safetensors", rows, device)
    results = {}
    for given in arguments.models:
        name, _, folder = given.partition("=")
        clock = Budget(1)
        painter = Painter(Path(folder), device, arguments.steps)
        results[name] = score(painter, judge, rows, unseen, arguments.count)
        if not arguments.no_sheet:
            sheet(painter, arguments.work / f"sheet-{name}.png", SHEET)
        log("score", model=name, seconds=clock.spent, **results[name])
        (arguments.work / "scores.json").write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
