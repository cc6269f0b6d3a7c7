"""Diffusion models enlarge pictures as diffusers' pipelines do (golden/make_upscaling.py), on both backends.

``python test_upscaling_models.py BACKEND FOLDER FILE`` draws with the models of a folder.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import on_jax
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from golden import small_networks
from golden import upscaling_models as models

import sdgen
from sdgen.images.metrics import psnr
from sdgen.pipeline import tiled_decoding
from sdgen.pipeline.windows import starts
from sdgen.request import Request

CASES = (*models.X4_CASES, *models.LDM_CASES)


def pictures(folder: Path) -> dict[str, np.ndarray]:
    """Of all cases, thinned."""
    found = {}
    for cases, name, prompt in (
        (models.X4_CASES, "x4", models.PROMPT),
        (models.LDM_CASES, "ldm-sr", ""),
    ):
        engine = sdgen.load(str(folder / name), device="cpu", dtype="float32")
        requests = [
            Request(
                prompt=prompt,
                init_image=models.small_picture(),
                upscale=4,
                rng="torch",
                prompt_syntax="plain",
                **case,
            )
            for case in cases.values()
        ]
        for case, image in zip(cases, engine.generate(requests), strict=True):
            assert image.pixels is not None, image.error
            found[case] = models.thinned(image.pixels)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("upscaling")
    models.write_x4(folder / "x4")
    models.write_ldm_sr(folder / "ldm-sr")
    return folder


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def drawn(request: Any, folder: Path, tmp_path_factory: Any) -> dict[str, np.ndarray]:
    if request.param == "tensorflow":
        return pictures(folder)
    return on_jax.outputs(__file__, tmp_path_factory.mktemp("jax") / "drawn.npz", folder)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_model_enlarges_as_diffusers_does(drawn: dict[str, np.ndarray], case: str) -> None:
    with np.load(Path(__file__).parent / "golden" / "upscaling.npz") as stored:
        assert psnr(drawn[case], stored[case]) > 40


@pytest.fixture(scope="module")
def windowed(folder: Path, tmp_path_factory: Any) -> Any:
    """The x4 model with windows of 16x16 pixels of the small picture."""
    copy = shutil.copytree(folder / "x4", tmp_path_factory.mktemp("windowed") / "x4")
    config = json.loads((copy / "unet/config.json").read_text())
    (copy / "unet/config.json").write_text(json.dumps(config | {"sample_size": 16}))
    return sdgen.load(str(copy), device="cpu", dtype="float32")


def enlarge(engine: Any, pixels: np.ndarray, **fields: Any) -> np.ndarray:
    request = Request(prompt="", init_image=pixels, **{"steps": 2, "guidance": 1.0, **fields})
    (image,) = engine.generate([request])
    assert image.pixels is not None, image.error
    return image.pixels


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (17, 3), (50, 21)])
def test_a_picture_of_any_size_is_enlarged(windowed: Any, size: tuple[int, int]) -> None:
    given = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    assert enlarge(windowed, given).shape == (4 * size[1], 4 * size[0], 3)


@pytest.mark.slow
def test_a_large_picture_is_decoded_by_tiles(windowed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = windowed._runners().decoder
    monkeypatch.setattr(decoder, "_whole", 128 * 128)
    assert decoder.way(32, 32) == "whole" and decoder.way(33, 32) == "tiles"
    given = np.random.default_rng(0).integers(0, 256, (36, 50, 3), np.uint8)
    assert enlarge(windowed, given).shape == (144, 200, 3)


@pytest.mark.slow
def test_tiles_are_what_the_whole_is_where_nothing_sees_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without attention, tiles with the norms of the whole differ by what their edges do to them alone."""
    from sdgen.backend.program import Program
    from sdgen.networks.config import VAEConfig
    from sdgen.networks.vae import Decoder

    config = VAEConfig.from_config(models.X4_VAE | {"mid_block_add_attention": False})
    network = Decoder(config, small_networks._numerics())
    weights = small_networks.values_of(network)
    y, x = np.mgrid[0:96, 0:96].astype(np.float32) / 96
    latents = 0.08333 * np.stack([x - y, x + y - 1, x - 0.5, 0.5 - y], -1)[None]
    whole = np.asarray(Program(lambda w, z: network(w, z), weights, jit=False)(latents))[0]
    whole = np.uint8(np.round(np.clip(whole / 2 + 0.5, 0, 1) * 255))
    monkeypatch.setattr(tiled_decoding, "TILE", 192)
    (tiles,), finite = tiled_decoding.TiledDecoder(network, weights)(latents)
    assert finite
    assert psnr(tiles, whole) > 40
    assert seam(tiles) < 1.1 * max(1.0, seam(whole))


def seam(pixels: np.ndarray) -> float:
    """How much neighbouring rows differ at the edges of tiles of 192 pixels, beside others."""
    steps = np.abs(np.diff(pixels.astype(np.float64), axis=0)).mean((1, 2))
    edges = {4 * side for top in starts(96, 48, overlap=tiled_decoding.OVERLAP) for side in (top, top + 48)}
    return float(np.mean([steps[edge - 1] for edge in edges - {0, 384}]) / np.median(steps))


if __name__ == "__main__":
    from sdgen import backend

    backend.activate(sys.argv[1])
    np.savez(sys.argv[3], **pictures(Path(sys.argv[2])))
