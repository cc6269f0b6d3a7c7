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
from sdgen.pipeline.picture_encoding import PictureEncoder
from sdgen.request import Request

WRITERS = {
    "text": ldm.write_text_model,
    "unconditional": ldm.write_unconditional_model,
    "classes": lambda folder: ldm.write_class_model(folder.with_suffix(".ckpt")),
    "faces": lambda folder: ldm.write_faces_model(folder.with_suffix(".ckpt")),
}
CASES = {
    "text": [{**case, "prompt_syntax": "plain"} for case in ldm.TEXT_CASES],
    "unconditional": [{**case, "prompt": ""} for case in ldm.UNCONDITIONAL_CASES],
    "faces": [{**case, "prompt": ""} for case in ldm.FACES_CASES],
    "classes": [{name: value for name, value in case.items() if name != "label"} for case in ldm.CLASS_CASES],
}


def pictures(folder: Path) -> dict[str, np.ndarray]:
    """Pictures of each model's cases, uint8 (cases, 64, 64, 3), and ``encoded``, the latents of one."""
    found = {}
    for name, cases in CASES.items():
        model = folder / name
        model = model if model.exists() else model.with_suffix(".ckpt")
        engine = sdgen.load(str(model), device="cpu", dtype="float32")
        requests = [Request(**case, width=64, height=64, rng="torch", sampler="ddim") for case in cases]
        found[name] = np.stack([image.pixels for image in engine.generate(requests)])
    encode = PictureEncoder(engine.networks, jit=False, low_memory=False)
    found["encoded"], deviation = encode(ldm.pixels())
    assert deviation.max() < 1e-6
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("ldm")
    for name, write in WRITERS.items():
        write(folder / name)
    return folder


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def drawn(request: Any, folder: Path, tmp_path_factory: Any) -> dict[str, np.ndarray]:
    if request.param == "tensorflow":
        return pictures(folder)
    return on_jax.outputs(__file__, tmp_path_factory.mktemp("jax") / "drawn.npz", folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_each_model_draws_what_the_reference_draws(drawn: dict[str, np.ndarray], name: str) -> None:
    with np.load(Path(__file__).parent / "golden" / "ldm.npz") as stored:
        expected = stored[name]
    found = [psnr(one, other) for one, other in zip(drawn[name], expected, strict=True)]
    assert min(found) > 40, found


@pytest.mark.slow
def test_a_vq_vae_encodes_to_latents_that_are_not_quantised(drawn: dict[str, np.ndarray]) -> None:
    with np.load(Path(__file__).parent / "golden" / "ldm.npz") as stored:
        expected = stored["encoded"]
    assert np.linalg.norm(drawn["encoded"] - expected) < 1e-5 * np.linalg.norm(expected)


def test_the_size_is_the_papers_whatever_an_old_config_is_taken_for(folder: Path) -> None:
    from sdgen import models
    from sdgen.checkpoints import open_checkpoint
    from sdgen.pipeline.defaults import native_size

    assert native_size(models.find(str(folder / "text")), open_checkpoint(folder / "text")) == (256, 256)


if __name__ == "__main__":
    from sdgen import backend

    backend.activate(sys.argv[1])
    np.savez(sys.argv[3], **pictures(Path(sys.argv[2])))
