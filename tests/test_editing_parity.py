"""Pictures that are edited are those that diffusers makes (goldens by golden/make_editing.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import on_jax
import pytest
from golden import editing_cases, editing_pictures

GOLDEN = Path(__file__).parent / "golden"
STORED = editing_cases.stored()

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def drawn(request, tmp_path_factory) -> dict[str, np.ndarray]:
    if request.param == "jax":
        return on_jax.outputs(GOLDEN / "editing_pictures.py", tmp_path_factory.mktemp("jax") / "pictures.npz")
    return editing_pictures.pictures((case for case, _ in STORED.values()), "tensorflow")


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return np.inf if error == 0 else 10 * np.log10(255**2 / error)


def drawn_anew(case: dict[str, Any]) -> np.ndarray:
    """Which pixels are, bool (height, width)."""
    shape = case["height"], case["width"]
    return editing_cases.mask(case) > 0 if "mask" in case else np.ones(shape, bool)


@pytest.mark.parametrize("name", [name for name in STORED if "unaligned" not in name])
def test_what_is_drawn_anew_is_what_diffusers_draws(drawn, name) -> None:
    case, expected = STORED[name]
    where = drawn_anew(case)
    assert psnr(drawn[name][where], expected[where]) > 40


@pytest.mark.parametrize("name", [name for name, (case, _) in STORED.items() if "mask" in case])
def test_what_is_black_in_the_mask_comes_back_as_it_was(drawn, name) -> None:
    case, _ = STORED[name]
    black = ~drawn_anew(case)
    np.testing.assert_array_equal(drawn[name][black], editing_cases.picture(case)[black])


@pytest.mark.parametrize("name", [name for name in STORED if "unaligned" in name])
def test_latents_that_a_mask_cuts_through_are_drawn_anew_whole(drawn, name) -> None:
    """To diffusers the top left pixel of each says whether it is; masks of whole latent pixels are alike."""
    case, of_top_left_pixels = STORED[name]
    grown = next(
        pixels for other, pixels in STORED.values() if other == {**case, **editing_cases.grown(case)}
    )
    where = drawn_anew(case)
    assert psnr(drawn[name][where], grown[where]) > 40
    assert psnr(drawn[name][where], of_top_left_pixels[where]) < 40
