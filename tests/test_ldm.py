"""The latent diffusion paper's models draw what diffusers' do (golden/make_ldm.py), on both backends.

``python test_ldm.py BACKEND FOLDER FILE`` draws with the models of a folder.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import on_jax
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from golden import ldm_models as ldm

import sdgen
from sdgen.images.metrics import psnr
from sdgen.request import Request


def pictures(folder: Path) -> np.ndarray:
    """Of TEXT_CASES, uint8 (cases, 64, 64, 3)."""
    engine = sdgen.load(str(folder), device="cpu", dtype="float32")
    requests = [
        Request(**case, width=64, height=64, rng="torch", sampler="ddim", prompt_syntax="plain")
        for case in ldm.TEXT_CASES
    ]
    return np.stack([image.pixels for image in engine.generate(requests)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    return ldm.write_text_model(tmp_path_factory.mktemp("ldm") / "text")


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def drawn(request: Any, folder: Path, tmp_path_factory: Any) -> np.ndarray:
    if request.param == "tensorflow":
        return pictures(folder)
    return on_jax.outputs(__file__, tmp_path_factory.mktemp("jax") / "drawn.npz", folder)["text"]


@pytest.mark.slow
def test_the_text_model_draws_what_diffusers_draws(drawn: np.ndarray) -> None:
    with np.load(Path(__file__).parent / "golden" / "ldm.npz") as stored:
        expected = stored["text"]
    found = [psnr(one, other) for one, other in zip(drawn, expected, strict=True)]
    assert min(found) > 40, found


def test_the_size_is_the_papers_whatever_an_old_config_is_taken_for(folder: Path) -> None:
    from sdgen import models
    from sdgen.checkpoints import open_checkpoint
    from sdgen.pipeline.defaults import native_size

    assert native_size(models.find(str(folder)), open_checkpoint(folder)) == (256, 256)


if __name__ == "__main__":
    from sdgen import backend

    backend.activate(sys.argv[1])
    np.savez(sys.argv[3], text=pictures(Path(sys.argv[2])))
