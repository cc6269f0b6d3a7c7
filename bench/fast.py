"""What --fast saves and what it costs: time and PSNR of each picture against the full run.

    python bench/fast.py [--model mini] [--backend tensorflow] [--sampler ddim] [--steps 25 50] [--images 12]

The two take turns, picture by picture, with the prompts of prompts/mini.txt and seed 7.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np

import sdgen

PROMPTS = Path(__file__).parents[1] / "prompts" / "mini.txt"


def main() -> None:
    """Print a line for each number of steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--backend")
    parser.add_argument("--device")
    parser.add_argument("--sampler", default="ddim")
    parser.add_argument("--schedule")
    parser.add_argument("--steps", type=int, nargs="+", default=[25, 50])
    parser.add_argument("--images", type=int, default=12)
    args = parser.parse_args()
    lines = PROMPTS.read_text(encoding="utf-8").splitlines()
    prompts = [line for line in lines if line and not line.startswith("#")][: args.images]
    pipeline = sdgen.load(args.model, backend=args.backend, device=args.device, jit=True)

    def draw(request: sdgen.Request) -> tuple[np.ndarray, float]:
        (image,) = pipeline.generate([request])
        assert image.pixels is not None, image.error
        return image.pixels.astype(np.float64), image.details["denoise_seconds"]

    for steps in args.steps:
        plain = {"seed": 7, "steps": steps, "sampler": args.sampler, "schedule": args.schedule}
        ratios, distances = [], []
        for number, prompt in enumerate(prompts):
            request = sdgen.Request(prompt=prompt, **plain)
            if not number:
                for fast in (False, True):  # Compiles.
                    draw(request.replace(steps=2, fast=fast))
            full, whole_seconds = draw(request)
            fast, seconds = draw(request.replace(fast=True))
            ratios.append(seconds / whole_seconds)
            distances.append(10 * np.log10(255**2 / max(1e-9, np.mean((full - fast) ** 2))))
        low, median, high = min(distances), statistics.median(distances), max(distances)
        print(
            f"{steps} steps of {args.sampler} {args.schedule or ''}: "
            f"{statistics.median(ratios):.2f} of the time, {low:.1f} to {high:.1f} dB, median {median:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
