"""What --fast leaves out, and what it does to pictures."""

from __future__ import annotations

import numpy as np
import pytest
from test_pipeline import SMALL, draw, psnr

from sdgen import InputError
from sdgen.diffusion.shortcuts import shortcuts
from sdgen.pipeline.keras_cv.engine import KerasCvEngine

FAST = SMALL.replace(steps=25, fast=True)


def rows(steps: int) -> tuple[str, str]:
    """Rows that reuse features (.) and compute them (F), and rows with guidance (g)."""
    found = shortcuts(np.arange(1000, 0, -1000 / steps), 1000)
    return "".join("F."[int(r)] for r in found.reuse), "".join("-g"[int(g)] for g in found.guided)


def test_the_first_rows_are_computed_whole_and_then_one_in_three():
    assert rows(25) == ("FFFFFFFF..F..F..F..F..F..", "g" * 22 + "---")


def test_a_long_run_reuses_more_and_a_short_one_nothing():
    assert rows(50)[0].count("F") == 22
    assert rows(12) == ("F" * 12, "g" * 11 + "-")


@pytest.mark.slow
def test_a_fast_picture_is_close_to_the_full_one(mini_graph):
    """39.3 dB. With shortcuts broken on purpose:

    features never refreshed 12.7, kept as zeros 19.0, those of the other half of the guidance 33.6, never
    reused 41.9; guidance off from the first row 8.6, never ended 40.6.
    """
    full, fast = draw(mini_graph, FAST.replace(fast=False), FAST)
    assert 37 < psnr(full, fast) < 40.2


@pytest.mark.slow
def test_a_fast_image_does_not_depend_on_its_neighbours(graph_batching):
    requests = [FAST, FAST.replace(prompt="a panda", steps=40, seed=1), FAST.replace(sampler="euler-a")]
    together = draw(graph_batching, *requests, batch_size=3)
    for request, pixels in zip(requests, together, strict=True):
        assert psnr(pixels, draw(graph_batching, request)[0]) > 45


@pytest.mark.slow
def test_fast_and_full_images_do_not_share_a_batch_and_compile_once_each(graph_batching):
    draw(graph_batching, SMALL, FAST)
    before = graph_batching.compilations
    fast, full = (graph_batching.read(request).shape for request in (FAST, SMALL))
    assert fast != full
    draw(
        graph_batching,
        FAST.replace(steps=7, sampler="unipc"),
        SMALL.replace(steps=4),
        FAST.replace(guidance=2.0),
    )
    assert graph_batching.compilations == before


@pytest.mark.slow
def test_without_guidance_features_are_reused_too(mini_graph):
    """34.7 dB; with features never refreshed 17.3, kept as zeros 27.5, never reused infinite."""
    full, fast = draw(mini_graph, FAST.replace(fast=False, guidance=1.0), FAST.replace(guidance=1.0))
    assert 33 < psnr(full, fast) < 37


@pytest.mark.parametrize(("field", "option"), [("fast", "--fast"), ("zero_snr", "--zero-snr")])
def test_keras_cv_has_no_fast_and_no_zero_snr(mini, field, option):
    stock = object.__new__(KerasCvEngine)
    stock.checkpoint, stock.entry = mini.checkpoint, mini.entry
    with pytest.raises(InputError, match=f"--engine keras-cv has no {option};"):
        stock.resolve(SMALL.replace(width=128, height=128, **{field: True}))
