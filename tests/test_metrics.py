"""PSNR and SSIM against scikit-image."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from golden import metric_cases

from sdgen.images import metrics

ROWS = json.loads(Path(__file__).with_name("golden").joinpath("metrics.json").read_text())["rows"]


def test_every_case_has_a_golden_value() -> None:
    assert [tuple(row["case"]) for row in ROWS] == list(metric_cases.CASES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "x".join(map(str, row["case"])))
def test_ssim_and_psnr_are_those_of_scikit_image(row: dict) -> None:
    first, second = metric_cases.pictures(row["case"])
    assert metrics.ssim(first, second) == pytest.approx(row["ssim"], abs=1e-9)
    assert metrics.psnr(first, second) == pytest.approx(row["psnr"], abs=1e-9)


def test_equal_pictures_have_an_ssim_of_1_and_no_finite_psnr() -> None:
    picture, _ = metric_cases.pictures((64, 48, 1.0))
    assert metrics.ssim(picture, picture) == pytest.approx(1)
    assert metrics.psnr(picture, picture) == math.inf


def test_psnr_of_one_error_everywhere_is_that_errors() -> None:
    black, grey = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 51, np.uint8)
    assert metrics.psnr(black, grey) == pytest.approx(20 * math.log10(5))


@pytest.mark.parametrize("shape", [(10, 50, 3), (50, 10, 3), (1, 1, 3)])
def test_pictures_smaller_than_its_window_have_no_ssim(shape: tuple[int, int, int]) -> None:
    assert metrics.ssim(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)) is None


@pytest.mark.parametrize("values", [1, 5000, 1 << 30])
def test_ssim_does_not_depend_on_the_rows_that_are_taken_at_once(
    monkeypatch: pytest.MonkeyPatch, values: int
) -> None:
    first, second = metric_cases.pictures((64, 48, 40.0))
    expected = metrics.ssim(first, second)
    monkeypatch.setattr(metrics, "_BAND_VALUES", values)
    assert metrics.ssim(first, second) == pytest.approx(expected, abs=1e-12)
