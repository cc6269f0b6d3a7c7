"""3x3 convolutions of Stable Diffusion's UNet at 256x256, guided: milliseconds in each way of ``ALGORITHMS``.

    python bench/convolutions.py [tensorflow|jax]

One convolution is a program of XLA's; the ways take turns, the fastest of eight counts.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from sdgen import backend

SHAPES = (
    (32, 320, 320),
    (32, 640, 320),
    (16, 640, 640),
    (16, 1280, 640),
    (16, 1280, 1280),
    (8, 1280, 1280),
    (8, 2560, 1280),
    (4, 1280, 1280),
)
"""Side of the map, inputs, outputs."""


def main() -> None:
    """Print a line for each shape."""
    backend.activate(*sys.argv[1:])
    from sdgen.backend.program import Program
    from sdgen.networks.convolution import ALGORITHMS, Algorithm, Conv3x3
    from sdgen.networks.layers import Numerics

    ALGORITHMS["every winograd"] = Algorithm(winograd_channels=1, winograd_weights=1 << 62)
    ways = [
        (dtype, way) for dtype in ("float32", "bfloat16") for way in ("direct", "every winograd", "gathered")
    ]
    print("side, inputs, outputs: " + ", ".join(f"{dtype} {way}" for dtype, way in ways), flush=True)
    generator = np.random.default_rng(0)
    for side, inputs, outputs in SHAPES:
        x, runs = generator.standard_normal((2, side, side, inputs), np.float32), []
        for dtype, way in ways:
            numerics = Numerics(dtype, "float32", way, attention=lambda *_: None)
            convolution = Conv3x3("conv", inputs, outputs, numerics)
            weights = {}
            for parameter in convolution.parameters():
                value = backend.empty_array(parameter.shape, dtype)
                value[...] = generator.standard_normal(parameter.shape, np.float32)
                weights[parameter.name] = backend.to_tensor(value)
            runs.append(Program(convolution, weights))
        seconds: list[list[float]] = [[] for _ in runs]
        for _ in range(9):
            for program, times in zip(runs, seconds, strict=True):
                began = time.perf_counter()
                np.asarray(program(x))
                times.append(time.perf_counter() - began)
        best = "  ".join(f"{1000 * min(times[1:]):6.2f}" for times in seconds)
        print(f"{side:4} {inputs:5} {outputs:5}:  {best}", flush=True)


if __name__ == "__main__":
    main()
