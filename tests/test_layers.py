"""Layers where rounding decides."""

from __future__ import annotations

import numpy as np
import pytest

from sdgen import backend

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_a_map_of_nearly_one_value_is_normalised_to_numbers(noise: float) -> None:
    """The mean of the squares can come out below the square of the mean."""
    backend.activate("tensorflow")
    from keras import ops

    from sdgen.backend.program import Program
    from sdgen.networks.layers import GroupNorm

    norm = GroupNorm("norm", 8, 2, 1e-6)
    weights = {"norm.weight": ops.ones(8), "norm.bias": ops.zeros(8)}
    program, random = Program(norm, weights), np.random.default_rng(0)
    for value in random.uniform(1, 300, 20).astype(np.float32):
        x = value + noise * random.standard_normal((1, 17, 19, 8)).astype(np.float32)
        assert np.isfinite(np.asarray(program(x))).all(), value
