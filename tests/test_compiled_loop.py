"""What the compiled sampling loop does at every step, and what it has done before."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from hlo import uses_in_loops

import sdgen
from sdgen.networks.layers import Linear

pytestmark = pytest.mark.slow


def load(dtype):
    return sdgen.load("mini", backend="tensorflow", device="cpu", dtype=dtype)._runners().denoiser


@pytest.fixture(scope="module")
def denoiser():
    return load("float32")


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def uses(request):
    return loop_uses(load(request.param))


def loop_uses(denoiser) -> Counter[tuple[str, str]]:
    """Operations of the loop on the weights that are matrices or filters, before XLA optimises them."""
    return uses_in_loops(*loop_hlo(denoiser))


def loop_hlo(denoiser) -> tuple[str, Mapping[int, str]]:
    """The loop as XLA is handed it, and which of the entry's parameters are matrices or filters."""
    import tensorflow as tf

    from sdgen.backend.tensorflow_operations import xla
    from sdgen.diffusion.table import SLOTS
    from sdgen.pipeline.evaluation import WholeEvaluation
    from sdgen.pipeline.loop_arguments import WINDOW

    weights = denoiser._advance[False, False, True]._compiled._weights
    unet = denoiser.unet
    shape = (16, 16, unet.config.in_channels)
    context = np.zeros((2, 77, unet.config.cross_attention_dim), np.float32)
    maps = {"keys_values": unet.project_context(weights, context), "guidance": tf.zeros((1, 2))}
    window = {name: tf.zeros((WINDOW, 1)) for name in ("p", "q", "data_p", "data_q")}
    window["mix"] = tf.zeros((WINDOW, 1, 4, 5))
    window["shifts"] = unet.embed_timesteps(weights, tf.zeros((WINDOW, 1)))
    arguments = (weights, tf.zeros((SLOTS, 1, *shape)), window, maps, 0, 3)
    arguments = tf.nest.map_structure(tf.convert_to_tensor, arguments)

    def run(*arguments):
        with xla():
            return denoiser._rows_by(WholeEvaluation(unet))(*arguments)

    program = tf.function(run, jit_compile=True, autograph=False)
    hlo = program.experimental_get_compiler_ir(*arguments)(stage="hlo")
    # The entry takes the weights first, by name.
    names = {i: name for i, name in enumerate(sorted(weights)) if len(weights[name].shape) > 1}
    return hlo, names


def test_weights_are_used_as_they_are_stored(uses):
    assert len(uses) > 50
    assert {opcode for _, opcode in uses} == {"dot", "convolution"}


def test_nothing_that_the_latents_do_not_change_is_computed_in_the_loop(uses):
    names = {name for name, _ in uses}
    assert any(name.endswith("attn2.to_q.weight") for name in names)
    assert not any("attn2.to_k" in name or "time_" in name for name in names)


def test_products_of_bfloat16_are_summed_and_kept_in_float32():
    """On a CPU, XLA multiplies bfloat16 so, and converts it to float32 before any other product."""
    hlo, _ = loop_hlo(load("bfloat16"))
    product = re.compile(r"= (\w+)\[\S+ dot\((\w+)\[[^%]*%[\w.-]+, (\w+)\[")
    types = Counter((left, right, result) for result, left, right in product.findall(hlo))
    assert types.pop(("f32", "f32", "f32")) == 1  # The sampler's.
    assert types.keys() == {("bf16", "bf16", "f32")}
    assert types.total() > 100


@pytest.mark.parametrize(
    ("change", "opcode"),
    [
        (lambda ops, weight: ops.transpose(ops.reshape(weight, weight.shape[::-1])), "transpose"),
        (lambda ops, weight: ops.cast(ops.cast(weight, "float16"), weight.dtype), "convert"),
    ],
)
def test_a_layer_that_rearranges_its_weights_is_noticed(denoiser, monkeypatch, change, opcode):
    from keras import ops

    plain = Linear.__call__

    def broken(self, weights, x):
        name = self.name + ".weight"
        return plain(self, {**weights, name: change(ops, weights[name])}, x)

    monkeypatch.setattr(Linear, "__call__", broken)
    assert opcode in {used for _, used in loop_uses(denoiser)}


def test_keys_projected_in_the_loop_are_noticed(denoiser, monkeypatch):
    plain = denoiser.unet.denoise

    def broken(weights, latents, shifts, context):
        text = np.zeros((2, 77, denoiser.unet.config.cross_attention_dim), np.float32) + latents[0, 0, 0, 0]
        return plain(weights, latents, shifts, denoiser.unet.project_context(weights, text))

    monkeypatch.setattr(denoiser.unet, "denoise", broken)
    assert any("attn2.to_k" in name for name, _ in loop_uses(denoiser))
