"""A picture decoded by tiles: its parts put together, and the statistics that they share."""

from __future__ import annotations

import numpy as np
import pytest

from sdgen.networks.vae_tiles import PATCH, sampled
from sdgen.pipeline.tiled_decoding import blended


def enlarged(latents: np.ndarray, factor: int = 4) -> np.ndarray:
    return latents.repeat(factor, 0).repeat(factor, 1)


@pytest.mark.parametrize("size", [(1, 1), (8, 30), (16, 16), (17, 40), (45, 16), (100, 61)])
def test_tiles_that_agree_give_the_picture_back(size: tuple[int, int]) -> None:
    latents = np.random.default_rng(0).uniform(-1, 1, (*size, 3)).astype(np.float32)
    pixels, finite = blended(enlarged, latents, tile=16, factor=4)
    expected = np.round((enlarged(latents) / 2 + 0.5) * 255)
    assert finite and pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= 1


def test_tiles_that_differ_pass_into_each_other() -> None:
    """Each is darker or lighter than the last: where they meet, no line shows."""
    tiles = iter(range(1000))

    def decode(latents: np.ndarray) -> np.ndarray:
        return enlarged(latents) + 0.2 * (next(tiles) % 2)

    pixels, _ = blended(decode, np.zeros((40, 100, 3), np.float32), tile=16, factor=4)
    steps = [np.abs(np.diff(pixels.astype(int), axis=axis)).max() for axis in (0, 1)]
    assert max(steps) <= 4 and pixels.max() - pixels.min() > 10


@pytest.mark.parametrize("edge", [0, 1, 2, 3])
def test_the_edges_of_a_tile_do_not_show(edge: int) -> None:
    def decode(latents: np.ndarray) -> np.ndarray:
        pixels = enlarged(latents)
        np.rot90(pixels, edge)[0] = 1.0
        return pixels

    pixels, _ = blended(decode, np.zeros((40, 40, 3), np.float32), tile=16, factor=4)
    inside = pixels[1:-1, 1:-1].astype(int)
    assert np.abs(inside - 128).max() <= 2


def test_a_value_that_is_not_finite_is_told() -> None:
    latents = np.zeros((40, 40, 3), np.float32)
    latents[39, 39] = np.nan
    assert not blended(enlarged, latents, tile=16, factor=4)[1]


@pytest.mark.parametrize("length", [1, 7, PATCH, 255, 256])
def test_a_short_side_is_sampled_whole(length: int) -> None:
    assert sampled(length, 8 * PATCH).tolist() == list(range(length))


@pytest.mark.parametrize("length", [257, 704, 1000, 3000])
def test_a_sample_is_of_all_parts_of_a_side_alike(length: int) -> None:
    positions = sampled(length, 8 * PATCH)
    assert len(set(positions.tolist())) == 8 * PATCH
    assert positions.min() >= 0 and positions.max() < length
    assert abs(positions.mean() - (length - 1) / 2) < 1
