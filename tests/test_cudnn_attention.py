"""cuDNN's attention on TensorFlow: what XLA is given, since no GPU is at hand in the tests."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from sdgen.backend.cudnn_attention import stablehlo, supports

SHAPE = {"batch": 2, "heads": 5, "queries": 64, "keys": 77, "head_size": 64, "dtype": "bfloat16"}


def backend_config(text: str) -> dict[str, object]:
    """The custom call's configuration in a module's text."""
    found = re.search(r'backend_config = "(.*)",', text)
    assert found
    return json.loads(found[1].replace("\\22", '"'))["cudnn_fmha_backend_config"]


@pytest.mark.parametrize("causal", [False, True])
def test_configuration_is_the_one_that_jax_emits(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    jax = pytest.importorskip("jax")
    reference = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    for check in ("check_cudnn_version", "check_compute_capability", "check_is_flash_attention"):
        monkeypatch.setattr(reference, check, lambda *_, **__: 91000, raising=False)
    monkeypatch.setattr(reference, "is_cuda_compute_capability_equal", lambda *_: False, raising=False)
    q, kv = (jax.ShapeDtypeStruct((2, n, 5, 64), "bfloat16") for n in (64, 77))
    traced = jax.jit(
        lambda q, k, v: jax.nn.dot_product_attention(q, k, v, is_causal=causal, implementation="cudnn")
    ).trace(q, kv, kv)
    lowered = traced.lower(lowering_platforms=("cuda",)).as_text()
    expected = re.search(r'backend_config = "(.*?)", operand_layouts', lowered)
    assert expected
    expected = json.loads(expected[1].replace("\\22", '"'))["cudnn_fmha_backend_config"]
    assert backend_config(stablehlo(**SHAPE, causal=causal)) == expected


def test_tensorflow_hands_it_to_xla() -> None:
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_call_module

    q, kv = (tf.zeros((2, n, 5, 64), tf.bfloat16) for n in (64, 77))

    @tf.function(jit_compile=True, autograph=False)
    def attention(q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
        module = stablehlo(**SHAPE)
        arguments = {"version": 9, "module": module, "Sout": [q.shape], "Tout": [q.dtype]}
        return xla_call_module([q, k, v], **arguments, platforms=["CUDA"], disabled_checks=["platform"])[0]

    hlo = attention.experimental_get_compiler_ir(q, kv, kv)(stage="hlo")
    call = next(line for line in hlo.splitlines() if "custom-call(" in line)
    assert 'custom_call_target="__cudnn$fmhaSoftmax"' in call
    assert "bf16[2,5,64,64]{3,1,2,0}" in call, "cuDNN writes (batch, queries, heads, head size)"


@pytest.mark.parametrize(
    ("capability", "dtype", "fused"),
    [("9.0", "bfloat16", True), ("7.5", "float16", False), ("gfx90a", "float16", False)],
)
def test_it_is_taken_on_gpus_that_have_it(
    monkeypatch: pytest.MonkeyPatch, capability: str, dtype: str, fused: bool
) -> None:
    """JAX says the capability of NVIDIA's GPUs and the name of AMD's."""
    jax = pytest.importorskip("jax")
    from sdgen import backend
    from sdgen.backend import device_names, jax_operations, operations

    for module in (device_names, operations):
        monkeypatch.setattr(module, "framework", lambda: jax_operations)
    monkeypatch.setattr(jax, "devices", lambda kind: [SimpleNamespace(compute_capability=capability)])
    assert backend.default_dtype("gpu:0") == dtype
    assert (backend.fused_attention("gpu:0", dtype, 64) is not None) is fused


def test_where_no_kernel_is_for_a_head_size_attention_is_by_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The VAE's single head is 512 wide."""
    from sdgen import backend
    from sdgen.networks import attention_choice

    monkeypatch.setattr(
        backend, "fused_attention", lambda device, dtype, size: None if size > 128 else lambda *_: "fused"
    )
    monkeypatch.setattr(attention_choice, "chunked", lambda *_: "chunked")
    attend = attention_choice.fastest_attention("gpu:0", "bfloat16")
    narrow, wide = (np.zeros((1, 2, 3, size), np.float32) for size in (64, 512))
    assert (attend(narrow, narrow, narrow), attend(wide, wide, wide)) == ("fused", "chunked")


def test_a_device_without_a_kernel_has_none() -> None:
    from sdgen import backend

    assert backend.fused_attention("cpu:0", "bfloat16", 64) is None


@pytest.mark.parametrize(
    ("dtype", "head_size", "fused"),
    [("bfloat16", 64, True), ("float16", 128, True), ("float32", 64, False), ("bfloat16", 512, False)],
)
def test_supported_dtypes_and_head_sizes(dtype: str, head_size: int, fused: bool) -> None:
    assert supports(dtype, head_size) is fused
