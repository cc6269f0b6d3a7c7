"""Attention in chunks, decoding by rows and --low-memory compute what their plain forms compute."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from test_pipeline import SMALL, draw, psnr

import sdgen
from sdgen import backend
from sdgen.pipeline import decoding


@pytest.mark.parametrize(
    ("heads", "queries", "keys", "shape"),
    [
        (10, 96, 10, (1, 96)),
        (10, 96, 5, (2, 96)),
        (10, 96, 1, (10, 96)),
        (6, 96, 40, (1, 24)),
        (6, 7, 5000, (1, 1)),
    ],
)
def test_a_chunk_divides_heads_before_queries_and_keeps_to_the_limit(
    monkeypatch, heads, queries, keys, shape
):
    from sdgen.networks import chunked_attention

    monkeypatch.setattr(chunked_attention, "MOST_SCORES", 1000)
    assert chunked_attention.chunk_shape(heads, queries, keys) == shape


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize("most", [48 * 32 * 3, 48 * 32, 16 * 32])
def test_attention_in_chunks_is_attention(mini, monkeypatch, jit, most):
    """Three heads at a time, one, and a third of one."""
    from sdgen.backend.program import Program
    from sdgen.networks import chunked_attention
    from sdgen.networks.attention import scaled_dot_product

    generator = np.random.default_rng(0)
    q = generator.standard_normal((2, 3, 48, 8), np.float32)
    k, v = generator.standard_normal((2, 2, 3, 32, 8), np.float32)
    monkeypatch.setattr(chunked_attention, "MOST_SCORES", most)
    program = Program(lambda _, *qkv: chunked_attention.chunked(*qkv), {}, jit)
    expected = np.asarray(scaled_dot_product(q, k, v))
    np.testing.assert_allclose(np.asarray(program(q, k, v)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_decoder_by_rows_gives_the_numbers_of_the_decoder(mini, monkeypatch):
    from sdgen.backend.program import Program
    from sdgen.networks import feature_rows, vae_rows

    monkeypatch.setattr(feature_rows, "MOST_VALUES", 1 << 12)  # A few rows at a time, at every resolution.
    decoder = mini.networks.decoder
    channels = mini.networks.vae_config.latent_channels
    latents = np.random.default_rng(0).standard_normal((1, 12, 8, channels), np.float32)
    program = Program(
        lambda weights, x: vae_rows.decode_by_rows(decoder.network, weights, x), decoder.weights_by_name
    )
    whole = np.asarray(decoder(latents))
    assert np.abs(np.asarray(program(latents)) - whole).max() <= 1e-5 * np.abs(whole).max()


def test_a_block_by_rows_keeps_two_maps(mini):
    """No loop of the program is handed a third one, which would be a copy."""
    import tensorflow as tf

    from sdgen.networks import feature_rows, vae_rows
    from sdgen.networks.resnet import ResnetBlock

    block = ResnetBlock("block", 8, 8, 4, 1e-6, mini.networks.numerics("float32"))
    weights = {p.name: tf.zeros(p.shape) for p in block.parameters()}
    program = tf.function(
        lambda x: vae_rows.resnet_by_rows(block, weights, feature_rows.stored(x)),
        jit_compile=True,
        autograph=False,
    )
    hlo = program.experimental_get_compiler_ir(tf.zeros((1, 48, 16, 8)))(stage="hlo")
    loops = [line for line in hlo.splitlines() if " while(" in line]
    assert len(loops) == 2
    assert all(line.partition(" while(")[0].count("f32[1,48,16,8]") <= 2 for line in loops)


def test_large_pictures_are_decoded_by_rows():
    for limit, low_memory in ((decoding.WHOLE, False), (decoding.WHOLE_IN_LOW_MEMORY, True)):
        side = int(limit**0.5) // 8
        decoder = object.__new__(decoding.PictureDecoder)
        vars(decoder).update(_factor=8, _whole=limit, _tiled=None)
        assert (decoder.way(side, side), decoder.way(side, side + 8)) == ("whole", "rows"), low_memory


@pytest.mark.slow
def test_a_picture_decoded_by_rows_is_the_same_and_says_so(mini, monkeypatch):
    (whole,) = mini.generate([SMALL])
    monkeypatch.setattr(mini._runners().decoder, "_whole", 0)
    (rows,) = mini.generate([SMALL])
    assert (whole.details["decoder"], rows.details["decoder"]) == ("whole", "rows")
    assert psnr(whole.pixels, rows.pixels) > 60


@pytest.mark.slow
def test_low_memory_draws_the_same_and_drops_the_text_encoder(mini):
    frugal = sdgen.load("mini", backend="tensorflow", device="cpu", dtype="float32", low_memory=True)
    requests = [SMALL, SMALL.replace(prompt="a panda")]
    for request, expected in zip(requests, draw(mini, *requests), strict=True):
        (image,) = frugal.generate([request])
        assert psnr(image.pixels, expected) > 50
        assert image.details["low_memory"] is True
        assert image.details["peak_memory_bytes"] > 1e8
        assert "text_encoder" not in vars(frugal.networks)


@pytest.mark.slow
def test_low_memory_means_half_precision_on_a_cpu_under_tensorflow(mini):
    frugal = sdgen.load("mini", backend="tensorflow", device="cpu", low_memory=True)
    assert frugal.dtype == "bfloat16"
    (image,) = frugal.generate([SMALL])
    assert image.details["compiler"] == "graph"
    assert psnr(image.pixels, draw(mini, SMALL)[0]) > 30


@pytest.mark.slow
def test_bfloat16_is_within_30_db_of_float32(mini):
    half = sdgen.load("mini", backend="tensorflow", device="cpu", dtype="bfloat16", jit=True)
    request = sdgen.Request(prompt="a red heart", seed=7, steps=10)
    assert psnr(draw(half, request)[0], draw(mini, request)[0]) > 30


def test_keras_cv_has_no_low_memory():
    with pytest.raises(sdgen.InputError, match="--low-memory is for sdgen's own networks"):
        sdgen.load("mini", engine="keras-cv", low_memory=True)


def test_what_is_traced_without_gradients_is_let_go_of():
    """Or the weights that it reads would stay to the end of the process."""
    backend.activate("tensorflow")
    import tensorflow as tf

    function = tf.function(lambda x: tf.nn.silu(x), autograph=False)
    with backend.without_gradients():
        graph = weakref.ref(function.get_concrete_function(tf.TensorSpec((2,))).graph)
    del function
    gc.collect()
    assert graph() is None
