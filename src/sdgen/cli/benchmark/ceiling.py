"""The rate at which a device multiplies matrices: what no network on it can exceed."""

from __future__ import annotations

import math
import time

import numpy as np

from sdgen import backend
from sdgen.backend import ops
from sdgen.backend.program import Program
from sdgen.networks.layers import Tensor

_ON_CPU, _ON_ACCELERATOR = (2048,), (8192, 12288)
"""Sides of the square matrices that are tried; the fastest counts."""

_SECONDS = 0.3
"""About how many seconds a measured run takes."""

_REPEATS = 4


def matmul_rate(device: str, dtype: str) -> float:
    """Floating-point operations a second of dense matrix products, the best of several runs."""
    cpu = device.startswith("cpu")
    compilers = (True, False) if cpu and backend.active() == "tensorflow" else (True,)
    sides = _ON_CPU if cpu else _ON_ACCELERATOR
    with backend.on_device(device):
        # As the networks compute: a CPU keeps in float32 what it does not multiply.
        kinds = (dtype, "float32" if cpu else dtype)
        return max(_rate(side, *kinds, jit) for side in sides for jit in compilers)


def _rate(side: int, dtype: str, activations: str, jit: bool) -> float:
    # Variance 1 / side keeps the products near 1.
    factor = np.random.default_rng(0).standard_normal((side, side), np.float32) / math.sqrt(side)
    matrix, start = ops.cast(factor, dtype), ops.cast(factor, activations)

    def run(weights: Tensor, x: Tensor, count: Tensor) -> Tensor:
        return backend.fori_loop(0, count, lambda _, y: backend.matmul(y, weights), x)

    program = Program(run, matrix, jit)

    def seconds(count: int) -> float:
        began = time.perf_counter()
        backend.wait(program(start, np.asarray(count, np.int32))[0, 0])
        return time.perf_counter() - began

    seconds(1)
    count = max(1, min(1000, int(_SECONDS / seconds(1))))
    return 2 * side**3 * count / min(seconds(count) for _ in range(_REPEATS))
