"""The bundled model draws what diffusers draws with it (goldens by golden/make_mini.py)."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from golden import inputs
from PIL import Image

import sdgen

GOLDEN = Path(__file__).parent / "golden"
ROWS = json.loads((GOLDEN / "mini_pictures/rows.json").read_text())


@pytest.fixture(scope="module")
def expected():
    with np.load(GOLDEN / "mini_networks.npz") as file:
        return dict(file)


def assert_close(actual, expected):
    """Relative L2 distance of at most 1e-4."""
    actual = inputs.thinned(np.asarray(actual))
    assert actual.shape == expected.shape
    assert np.linalg.norm(actual - expected) <= 1e-4 * np.linalg.norm(expected)


def psnr(a, b):
    error = np.mean((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2)
    return np.inf if error == 0 else 10 * np.log10(255**2 / error)


def test_tokens(mini, expected):
    rows = [mini.checkpoint.tokenizer.encode_row(prompt)[0] for prompt in inputs.PROMPTS]
    np.testing.assert_array_equal(inputs.thinned(np.asarray(rows)), expected["tokens"])


def test_text_encoder(mini, expected):
    tokens = np.asarray([mini.checkpoint.tokenizer.encode_row(p)[0] for p in inputs.PROMPTS], np.int32)
    assert_close(mini.model.text_encoder({"tokens": tokens}), expected["text_encoder"])


def test_unet(mini, expected):
    from sdgen.networks.time_embedding import timestep_embedding

    unet = mini.model.diffusion_model
    timesteps = np.asarray(inputs.TIMESTEPS, np.float32)
    prediction = unet(
        {
            "latent": inputs.normal(1, 2, 32, 24, 8),
            "timestep_embedding": timestep_embedding(timesteps, unet.network.config),
            "context": inputs.normal(2, 2, 77, 256),
        }
    )
    assert_close(prediction, expected["unet"])


def test_vae_decoder(mini, expected):
    assert_close(mini.model.decoder(inputs.normal(1, 2, 32, 24, 8)[:1]), expected["decoder"])


def test_vae_encoder(mini, expected):
    encoder = mini.model.image_encoder
    mean, log_variance = encoder.network(encoder.weights_by_name, inputs.picture(64, 96)[None])
    assert_close(mean, expected["encoder_mean"])
    assert_close(log_variance, expected["encoder_log_variance"])


@pytest.mark.parametrize("name", ROWS)
def test_picture(request, name):
    row = dict(ROWS[name])
    # A program for the few without guidance is not worth XLA's time.
    mini = request.getfixturevalue("mini" if row["guidance"] > 1 else "mini_graph")
    prediction = row.pop("prediction_type", None)
    if prediction:
        changes = {"prediction_type": prediction, "rescale_betas_zero_snr": False}
        scheduler = {**mini.checkpoint.scheduler, **changes}
        mini = copy.copy(mini)
        mini.checkpoint = dataclasses.replace(mini.checkpoint, scheduler=scheduler)
    (image,) = mini.generate([sdgen.Request(**row, rng="torch", prompt_syntax="plain")])
    assert image.error is None
    least = 45 if row["width"] == 256 else 40
    assert psnr(image.pixels, Image.open(GOLDEN / "mini_pictures" / name)) >= least
