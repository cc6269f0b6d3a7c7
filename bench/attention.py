"""Attention in chunks of queries against attention with all scores at once, at Stable Diffusion's shapes.

    python bench/attention.py [tensorflow|jax]

float32; the two take turns, the fastest of five counts.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from sdgen import backend

SHAPES = {
    "512x512, first stage": (2, 5, 4096, 64),
    "512x512, second stage": (2, 10, 1024, 64),
    "768x768, first stage, unguided": (1, 5, 9216, 64),
    "512x512, VAE": (1, 1, 4096, 512),
}


def main() -> None:
    """Print a line for each shape and runtime."""
    name = backend.activate(*sys.argv[1:])
    from sdgen.backend.program import Program
    from sdgen.networks.attention import scaled_dot_product
    from sdgen.networks.chunked_attention import chunk_shape, chunked

    ways = (scaled_dot_product, chunked)
    generator = np.random.default_rng(0)
    for what, shape in SHAPES.items():
        qkv = generator.standard_normal((3, *shape), np.float32)
        for jit in (True, False) if name == "tensorflow" else (True,):
            programs = [Program(lambda _, *arrays, way=way: way(*arrays), {}, jit) for way in ways]
            seconds: list[list[float]] = [[], []]
            for _ in range(6):
                for compiled, times in zip(programs, seconds, strict=True):
                    began = time.perf_counter()
                    np.asarray(compiled(*qkv))
                    times.append(time.perf_counter() - began)
            whole, parts = (1000 * min(times[1:]) for times in seconds)
            batch, heads, queries, _ = shape
            together, size = chunk_shape(batch * heads, queries, queries)
            runtime = "XLA" if jit else "graph"
            print(
                f"{what}, {name} {runtime}: {whole:.0f} ms, in chunks of {together} x {size} {parts:.0f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
