"""The two halves of the guidance share what comes before the first cross-attention."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="module")
def inputs(mini):
    """The UNet, its weights, and latents, shifts and contexts of two images."""
    from sdgen.pipeline.keras_models import UNetModel

    model: UNetModel = mini.networks.diffusion_model
    unet, weights, rng = model.network, model.weights_by_name, np.random.default_rng(1)
    latents = rng.standard_normal((2, 32, 24, unet.config.in_channels)).astype(np.float32)
    context = rng.standard_normal((4, 77, unet.config.cross_attention_dim)).astype(np.float32)
    shifts = np.asarray(unet.embed_timesteps(weights, np.asarray([701.0, 20.0], np.float32)))
    return unet, weights, latents, shifts, context


def test_a_context_of_both_halves_takes_the_latents_once(inputs) -> None:
    unet, weights, latents, shifts, context = inputs
    keys_values = unet.project_context(weights, context)
    once = np.asarray(unet.denoise(weights, latents, shifts, keys_values))
    twice = np.asarray(
        unet.denoise(
            weights, np.concatenate([latents, latents]), np.concatenate([shifts, shifts]), keys_values
        )
    )
    assert once.shape == twice.shape == (4, *latents.shape[1:])
    assert np.linalg.norm(once - twice) <= 1e-5 * np.linalg.norm(twice)


def test_the_halves_differ_by_their_context_alone(inputs) -> None:
    unet, weights, latents, shifts, context = inputs
    same = unet.project_context(weights, np.concatenate([context[:2], context[:2]]))
    prediction = np.asarray(unet.denoise(weights, latents, shifts, same))
    np.testing.assert_allclose(prediction[:2], prediction[2:], rtol=1e-4, atol=1e-5)


def test_the_shared_part_is_traced_at_the_images_batch(inputs, monkeypatch) -> None:
    unet, weights, latents, shifts, context = inputs
    batches = []
    attention = unet.down[0].attentions[0].blocks[0].attn1 if unet.down[0].attentions else unet.conv_in
    original = type(attention).__call__

    def spy(self, weights, x, *rest):
        if self is attention:
            batches.append(x.shape[0])
        return original(self, weights, x, *rest)

    monkeypatch.setattr(type(attention), "__call__", spy)
    unet.denoise(weights, latents, shifts, unet.project_context(weights, context))
    assert batches == [2]
