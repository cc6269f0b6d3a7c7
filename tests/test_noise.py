"""Noise from seeds: equal to PyTorch's where asked, and a function of the seed alone."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdgen.diffusion.noise import ImageNoise
from sdgen.diffusion.torch_random import TorchGenerator
from sdgen.errors import InputError

PHILOX_42 = ([1.2481474, -0.5107772, -1.3689148], [0.8759917, -0.9967455, -0.0881040, -0.2860501])

RUNS = json.loads((Path(__file__).parent / "golden/noise.json").read_text())["runs"]


def assert_draw(values: np.ndarray, draw: dict[str, Any]) -> None:
    assert values.dtype == np.float32
    if "values" in draw:
        # Fewer than 16 numbers come from the C library's functions, so not bit for bit everywhere.
        np.testing.assert_allclose(values, draw["values"], rtol=1e-6, atol=1e-7)
    else:
        np.testing.assert_array_equal([*values[:4], *values[-4:]], np.float32(draw["ends"]))
        assert hashlib.sha256(values.astype("<f4").tobytes()).hexdigest() == draw["sha256"]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"seed-{run['seed']}")
def test_torch_generator_goes_on_like_pytorch(run: dict[str, Any]) -> None:
    generator = TorchGenerator(run["seed"])
    for draw in run["draws"]:
        assert_draw(generator.randn(math.prod(draw["shape"])), draw)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"seed-{run['seed']}")
def test_torch_noise_is_pytorch_with_channels_last(run: dict[str, Any]) -> None:
    noise = ImageNoise(run["seed"], "torch")
    for draw in run["draws"]:
        _, channels, height, width = draw["shape"]
        values = noise.normal(height, width, channels)
        assert values.shape == (height, width, channels)
        assert_draw(values.transpose(2, 0, 1).reshape(-1), draw)


def test_pytorch_takes_the_lowest_32_bits_of_a_seed() -> None:
    np.testing.assert_array_equal(TorchGenerator(5).randn(64), TorchGenerator(5 + 2**32).randn(64))


@pytest.mark.parametrize("rng", ["philox", "torch"])
def test_equal_seeds_give_equal_noise_and_others_do_not(rng: str) -> None:
    first, again, other = (ImageNoise(seed, rng).normal(8, 8, 4) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.5


@pytest.mark.parametrize("rng", ["philox", "torch"])
def test_draws_go_on_in_the_stream(rng: str) -> None:
    noise = ImageNoise(11, rng)
    draws = np.stack([noise.normal(16, 16, 4) for _ in range(3)]).reshape(3, -1)
    assert np.abs(np.corrcoef(draws) - np.eye(3)).max() < 0.15


@pytest.mark.parametrize("rng", ["philox", "torch"])
@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_noise_is_standard_normal(rng: str, seed: int) -> None:
    values = ImageNoise(seed, rng).normal(256, 256, 4).astype(np.float64)
    assert np.isfinite(values).all()
    moments = [np.mean(values**k) for k in (1, 2, 3, 4)]
    np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=0.04)


def test_philox_noise_stays_what_it_is() -> None:
    noise = ImageNoise(42, "philox")
    first, second = noise.normal(1, 3, 1), noise.normal(2, 2, 4)
    assert first.dtype == np.float32
    np.testing.assert_allclose(first.reshape(-1), PHILOX_42[0], atol=1e-6)
    np.testing.assert_allclose(second.reshape(-1)[:4], PHILOX_42[1], atol=1e-6)


def test_philox_uses_all_bits_of_a_seed() -> None:
    low, high = ImageNoise(5, "philox").normal(4, 4, 4), ImageNoise(5 + 2**32, "philox").normal(4, 4, 4)
    assert np.abs(low - high).max() > 0.5


def test_an_unknown_generator_is_refused() -> None:
    with pytest.raises(InputError, match="'dice'"):
        ImageNoise(0, "dice")
