"""Networks of several families at small widths compute what the reference computes, on both backends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import on_jax
import pytest
from golden import small_networks

from sdgen import backend

GOLDEN = Path(__file__).parent / "golden"
VAES = [f"{name} {half}" for name in small_networks.VAES for half in ("encoder", "decoder")]
NAMES = (
    *small_networks.ALL_UNETS,
    *small_networks.TEXT_ENCODERS,
    *VAES,
    *small_networks.WRAPPED,
    *small_networks.VQ_MODELS,
    *small_networks.LDM_BERTS,
)


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def outputs(request, tmp_path_factory) -> dict[str, np.ndarray]:
    if request.param == "jax":
        return on_jax.outputs(GOLDEN / "small_networks.py", tmp_path_factory.mktemp("jax") / "outputs.npz")
    backend.activate("tensorflow")
    return small_networks.outputs()


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "small_networks.npz") as stored:
        return dict(stored)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_small_network_computes_what_the_reference_does(outputs, expected, name) -> None:
    assert outputs[name].shape == expected[name].shape
    assert np.linalg.norm(outputs[name] - expected[name]) <= 1e-5 * np.linalg.norm(expected[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if "vae" in name])
def test_a_vae_by_rows_computes_what_the_reference_does(outputs, expected, name) -> None:
    half, comma, wrap = name.partition(",")
    actual = outputs[half + " by rows" + comma + wrap]
    assert np.linalg.norm(actual - expected[name]) <= 1e-5 * np.linalg.norm(expected[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if "vae" in name and "decoder" in name])
def test_a_decoder_by_one_tile_computes_what_the_reference_does(outputs, expected, name) -> None:
    half, comma, wrap = name.partition(",")
    actual = outputs[half + " by tiles" + comma + wrap]
    assert np.linalg.norm(actual - expected[name]) <= 1e-5 * np.linalg.norm(expected[name])


def test_a_network_without_class_labels_refuses_them() -> None:
    backend.activate("tensorflow")
    from sdgen.networks.attention import scaled_dot_product
    from sdgen.networks.config import UNetConfig
    from sdgen.networks.layers import Numerics
    from sdgen.networks.unet import UNet

    numerics = Numerics("float32", "float32", "direct", scaled_dot_product)
    unet = UNet(UNetConfig.from_config(small_networks.UNETS["unet-sd2"]), numerics)
    with pytest.raises(ValueError, match=r"takes \[\] beside timesteps, not \['labels'\]"):
        unet.embed_timesteps({}, np.zeros((1, 2), np.float32), {"labels": small_networks.LABELS})
