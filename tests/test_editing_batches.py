"""Pictures that are edited do not depend on what else is in their batch, which takes one program."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden.small_models import write_model

import sdgen
from sdgen.pipeline.results import Denoised

pytestmark = pytest.mark.slow

SAMPLERS = ("ddim", "euler", "dpmpp-2m", "heun", "unipc")
STRENGTHS = (0.3, 0.5, 0.6, 0.9, 1.0)
STEPS = (7, 12, 60, 5, 9)  # 36 of 60: more rows than the loop takes at a time
WIDTH, HEIGHT = 48, 32


def load(name: str, folder: Path) -> Any:
    """An engine of its own for a test that counts programs."""
    return sdgen.load(str(write_model(name, folder / name)), device="cpu", dtype="float32", jit=True)


def edits(masked: bool) -> list[sdgen.Request]:
    """Five requests that differ in all that a batch may differ in."""
    rng = np.random.default_rng(7)
    found = []
    for n, (sampler, strength, steps) in enumerate(zip(SAMPLERS, STRENGTHS, STEPS, strict=True)):
        fields: dict[str, Any] = {}
        if masked:
            white = np.zeros((HEIGHT, WIDTH), np.uint8)
            white[4 * n : 4 * n + 12, 5 * n : 5 * n + 20] = (255, 128)[n % 2]
            fields["mask"] = white
        picture = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        found.append(
            sdgen.Request(
                prompt=f"picture {n}",
                seed=n,
                sampler=sampler,
                steps=steps,
                guidance=2.0 + n,
                init_image=picture,
                strength=strength,
                **fields,
            )
        )
    return found


def draw(model: Any, requests: Sequence[sdgen.Request]) -> list[np.ndarray]:
    """The pictures of requests, drawn by the program for five."""
    jobs = [model.read(request) for request in requests]
    assert len({job.shape for job in jobs}) == 1
    *_, batch = model.draw(jobs, 5, True)
    assert isinstance(batch, Denoised)
    images = list(model.decode(batch))
    assert not any(image.error for image in images)
    return [np.asarray(image.pixels) for image in images]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return np.inf if error == 0 else 10 * np.log10(255**2 / error)


@pytest.mark.parametrize(
    ("name", "masked"), [("small-v", False), ("small-v", True), ("small-inpainting-epsilon", True)]
)
def test_an_edited_picture_does_not_depend_on_its_batch_which_is_one_program(
    tmp_path: Path, name: str, masked: bool
) -> None:
    model = load(name, tmp_path)
    requests = edits(masked)
    together = draw(model, requests)
    for request, pixels in zip(requests, together, strict=True):
        (alone,) = draw(model, [request])
        assert psnr(pixels, alone) > 45
    assert model.compilations == 1
    for one, other in itertools.pairwise(together):
        assert psnr(one, other) < 30
