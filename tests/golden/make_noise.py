"""Draws from PyTorch's CPU generator and stores the numbers: ``noise.json``.

    python tests/golden/make_noise.py

Needs torch, on a processor with AVX2. A run is a seeded generator and the shapes drawn from it in turn.
Values are in row-major order; a large draw is stored as the sha256 of its float32 bytes (little-endian) and
its first and last four values.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

GOLDEN = Path(__file__).parent
LARGE = 400

RUNS: list[tuple[int, list[tuple[int, ...]]]] = [
    (0, [(1, 4, 64, 64), (1, 4, 64, 64), (1, 4, 96, 96)]),
    (42, [(1, 4, 64, 64)]),
    (2**32 - 1, [(1, 4, 64, 48)]),
    (2**32 + 7, [(1, 4, 64, 64), (1, 1, 3, 5)]),
    (2**63 - 1, [(1, 4, 64, 64), (1, 4, 3, 3)]),
    (2**63, [(1, 4, 64, 64)]),
    (2**64 - 1, [(1, 4, 64, 64)]),
    (2**64 - 2**32 + 7, [(1, 4, 16, 16)]),
    (1, [(1, 1, 1, 1), (1, 1, 3, 5), (1, 4, 2, 2), (1, 4, 3, 3)]),
    # 1 and 15 numbers leave a second normal waiting; draws of 16 and more pass it by.
    (123456789, [(1, 1, 1, 1), (1, 4, 2, 2), (1, 1, 1, 1), (1, 1, 3, 5), (1, 4, 3, 3), (1, 1, 1, 3)]),
    (7, [(1, 1, 1, 15), (1, 1, 1, 16), (1, 1, 1, 17), (1, 1, 1, 31), (1, 1, 1, 32), (1, 1, 1, 33)]),
    (8, [(1, 4, 5, 7), (1, 3, 11, 13), (1, 4, 9, 9)]),
]


def draw(shape: tuple[int, ...], generator: torch.Generator) -> dict[str, Any]:
    """One draw, as JSON stores it."""
    values = torch.randn(shape, generator=generator, dtype=torch.float32).numpy().reshape(-1)
    if values.size < LARGE:
        return {"shape": shape, "values": values.tolist()}
    digest = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
    return {"shape": shape, "sha256": digest, "ends": [*values[:4].tolist(), *values[-4:].tolist()]}


def main() -> None:
    """Write ``noise.json``."""
    capability = torch.backends.cpu.get_cpu_capability()
    if not capability.startswith("AVX"):
        raise SystemExit(f"PyTorch computes its noise in another way here: {capability}")
    runs = []
    for seed, shapes in RUNS:
        generator = torch.Generator("cpu").manual_seed(seed)
        runs.append({"seed": seed, "draws": [draw(shape, generator) for shape in shapes]})
    text = json.dumps({"torch": torch.__version__, "runs": runs}, indent=None, separators=(",", ":"))
    (GOLDEN / "noise.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
