"""Pictures to latents: the VAE's encoder as the reference has it, whole and by rows, and only when asked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import encoded_pictures
import numpy as np
import on_jax
import pytest
from golden import small_networks
from test_pipeline import SMALL

from sdgen import backend
from sdgen.errors import CheckpointError, ImageError
from sdgen.pipeline import decoding
from sdgen.pipeline.picture_encoding import PictureEncoder

HERE = Path(__file__).parent


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def encoded(request, tmp_path_factory) -> dict[str, np.ndarray]:
    if request.param == "jax":
        return on_jax.outputs(HERE / "encoded_pictures.py", tmp_path_factory.mktemp("jax") / "encoded.npz")
    return encoded_pictures.encoded(request.getfixturevalue("mini"))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["", " by rows"])
def test_a_picture_is_encoded_as_by_the_reference(encoded, way) -> None:
    """The golden values are scaled, by the bundled model's factor of 1."""
    with np.load(HERE / "golden/mini_networks.npz") as stored:
        expected = {
            "mean": stored["encoder_mean"],
            "deviation": np.exp(0.5 * stored["encoder_log_variance"]),
        }
    for name, values in expected.items():
        actual = encoded[name + way]
        assert actual.shape == (1, 8, 12, 8)
        assert actual.dtype == np.float32
        assert np.linalg.norm(actual.ravel() - values) <= 1e-5 * np.linalg.norm(values), name


def encoder(**fields: object) -> PictureEncoder:
    """One that has no networks."""
    made = object.__new__(PictureEncoder)
    vars(made).update(fields)
    return made


def test_large_pictures_are_encoded_by_rows() -> None:
    for limit, low_memory in ((decoding.WHOLE, False), (decoding.WHOLE_IN_LOW_MEMORY, True)):
        side = int(limit**0.5)
        ways = [encoder(_whole=limit).way(side, side + more) for more in (0, 8)]
        assert ways == ["whole", "rows"], low_memory


@pytest.mark.slow
def test_drawing_from_text_builds_no_encoder(mini) -> None:
    vars(mini.networks).pop("image_encoder", None)
    (image,) = mini.generate([SMALL])
    assert image.error is None
    assert "image_encoder" not in vars(mini.networks)


def without_encoder(mini, kept: str):
    """The bundled model's networks, of whose encoder only some tensors are there."""
    from sdgen.pipeline.model_networks import Networks

    checkpoint = mini.checkpoint
    vae = checkpoint.vae.only("decoder.", "post_quant_conv.", kept)
    return Networks(checkpoint.with_components({"vae": vae}), "float32", "cpu:0", "cpu:0")


def test_a_vae_without_an_encoder_is_told_when_a_picture_is_encoded(mini) -> None:
    encode = PictureEncoder(without_encoder(mini, "quant_conv."), jit=False, low_memory=False)
    with pytest.raises(CheckpointError, match=r"is a decoder alone, and .* give a whole VAE with --vae"):
        encode(np.zeros((1, 64, 64, 3), np.float32))


def test_half_an_encoder_does_not_fit(mini) -> None:
    encode = PictureEncoder(without_encoder(mini, "encoder.conv_"), jit=False, low_memory=False)
    with pytest.raises(CheckpointError, match=r"encoder\.down_blocks\.0\.\S+ is missing"):
        encode(np.zeros((1, 64, 64, 3), np.float32))


@pytest.mark.parametrize(
    ("dtype", "advice"), [("float32", "take another VAE"), ("bfloat16", "try --dtype float32")]
)
def test_latents_that_overflow_are_told(dtype, advice) -> None:
    overflowed = np.full((1, 8, 8, 4), np.inf, np.float32)
    encode = encoder(
        _device="cpu:0",
        _whole=decoding.WHOLE,
        _networks=SimpleNamespace(vae_dtype=dtype),
        _programs={"whole": lambda pixels: (np.zeros_like(overflowed), overflowed)},
    )
    with pytest.raises(ImageError, match=f"became non-finite in {dtype}; {advice}"):
        encode(np.zeros((1, 64, 64, 3), np.float32))


def test_an_encoder_by_rows_keeps_two_maps() -> None:
    """No loop of the program is handed a third one of the picture's size."""
    backend.activate("tensorflow")
    import tensorflow as tf

    from sdgen.networks.attention import scaled_dot_product
    from sdgen.networks.config import VAEConfig
    from sdgen.networks.layers import Numerics
    from sdgen.networks.vae import Encoder
    from sdgen.networks.vae_rows import encode_by_rows

    config = VAEConfig.from_config(small_networks.VAES["vae"])
    encoder = Encoder(config, Numerics("float32", "float32", "direct", scaled_dot_product))
    weights = {p.name: tf.zeros(p.shape) for p in encoder.parameters()}
    program = tf.function(lambda x: encode_by_rows(encoder, weights, x), jit_compile=True, autograph=False)
    hlo = program.experimental_get_compiler_ir(tf.zeros((1, 48, 24, 3)))(stage="hlo")
    loops = [line.partition(" while(")[0] for line in hlo.splitlines() if " while(" in line]
    assert max(line.count("f32[1,48,24,16]") for line in loops) == 2
