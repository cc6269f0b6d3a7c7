"""A decoder run whole, by rows, and in blended tiles as diffusers has them: agreement and time.

    python bench/decoding.py PICTURE [--model mini] [--side 768] [--backend tensorflow]

The picture is encoded with the model's VAE. Tiles have half of its side and a quarter of overlap.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

import sdgen
from sdgen import backend
from sdgen.backend.program import Program

OVERLAP = 0.25
"""Share of a tile that it shares with the next one (diffusers' AutoencoderKL.tile_overlap_factor)."""


def tiled(decode: Callable[[Any], Any], latents: Any, tile: int, factor: int) -> Any:
    """AutoencoderKL.tiled_decode of diffusers: tiles decoded alone, their edges blended linearly."""
    step, blend = int(tile * (1 - OVERLAP)), int(tile * OVERLAP) * factor
    height, width = latents.shape[1:3]
    rows: list[list[Any]] = []
    for top in range(0, height, step):
        tiles = [
            np.array(decode(latents[:, top : top + tile, left : left + tile]))
            for left in range(0, width, step)
        ]
        rows.append(tiles)
    limit = step * factor
    joined = []
    for i, tiles in enumerate(rows):
        for j, piece in enumerate(tiles):
            for axis, before in ((1, rows[i - 1][j] if i else None), (2, tiles[j - 1] if j else None)):
                if before is None:
                    continue
                shared = min(blend, piece.shape[axis], before.shape[axis])
                ramp = (np.arange(shared) / shared).reshape((-1, 1, 1) if axis == 1 else (1, -1, 1))
                head = [slice(None)] * 4
                tail = [slice(None)] * 4
                head[axis], tail[axis] = slice(0, shared), slice(-shared, None)
                piece[tuple(head)] = before[tuple(tail)] * (1 - ramp) + piece[tuple(head)] * ramp
        joined.append(np.concatenate([piece[:, :limit, :limit] for piece in tiles], axis=2))
    return np.concatenate(joined, axis=1)[:, : height * factor, : width * factor]


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--side", type=int, default=768)
    args = parser.parse_args()
    pipeline = sdgen.load(args.model, backend=args.backend, dtype="float32")
    from sdgen.networks.vae_rows import decode_by_rows

    picture = Image.open(args.picture).convert("RGB").resize((args.side, args.side), Image.Resampling.LANCZOS)
    pixels = np.asarray(picture, np.float32)[None] / 127.5 - 1
    networks, factor = pipeline.networks, pipeline.networks.vae_config.downsampling
    with backend.on_device(pipeline.device):
        latents = np.asarray(networks.image_encoder(pixels))
        weights, network = networks.decoder.weights_by_name, networks.decoder.network
        whole = Program(lambda w, x: network(w, x), weights)
        rows = Program(lambda w, x: decode_by_rows(network, w, x), weights)
        tile = args.side // factor // 2
        ways = {
            "whole": whole,
            "rows": rows,
            "tiles": lambda x: tiled(whole, x, tile, factor),
        }
        expected: Any = None
        for name, decode in ways.items():
            decode(latents)
            began = time.perf_counter()
            decoded = np.clip(np.asarray(decode(latents)), -1, 1)
            seconds = time.perf_counter() - began
            expected = decoded if expected is None else expected
            error = float(np.mean((decoded - expected) ** 2))
            worst = np.abs(decoded - expected).max() * 127.5
            psnr = 10 * np.log10(4 / error) if error else np.inf
            print(f"{name:6} {seconds:6.2f} s, {psnr:5.1f} dB, at most {worst:.1f} of 255 apart", flush=True)


if __name__ == "__main__":
    main()
