"""TensorFlow's ``framework.Framework``."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from keras import ops
from tensorflow.python.framework.ops import gradient_registry

from sdgen.backend.cudnn_attention import stablehlo

if TYPE_CHECKING:
    import numpy as np

CALL_VERSION = 9
"""The version of the XlaCallModule operation, which TensorFlow 2.19 and newer read."""

_in_xla: ContextVar[bool] = ContextVar("in_xla", default=False)


@contextlib.contextmanager
def xla() -> Iterator[None]:
    """While TensorFlow traces what XLA will compile."""
    token = _in_xla.set(True)
    try:
        yield
    finally:
        _in_xla.reset(token)


def devices() -> list[str]:
    """As ``device_names.devices``."""
    found = [(d.device_type.lower(), d.name.rsplit(":", 1)[1]) for d in tf.config.list_logical_devices()]
    found.sort(key=lambda pair: pair[0] == "cpu")
    return [f"{kind}:{index}" for kind, index in found if kind in ("gpu", "tpu", "cpu")]


def on_device(kind: str, index: int) -> Any:
    """As ``device_names.on_device``."""
    return tf.device(f"/{kind}:{index}")


@contextlib.contextmanager
def without_gradients() -> Iterator[None]:
    """As ``operations.without_gradients``.

    TensorFlow registers each custom gradient that it traces, as ``tf.nn.silu`` has one, and by it holds the
    graph, and the weights that the graph reads, to the end of the process.
    """
    registry = getattr(gradient_registry, "_registry", {})
    before = set(registry)
    try:
        yield
    finally:
        for name in registry.keys() - before:
            registry.pop(name, None)


def compute_capability(index: int) -> tuple[int, int]:
    """The compute capability of a GPU, (major, minor); (0, 0) where TensorFlow does not tell."""
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[index])
    return tuple(details.get("compute_capability", (0, 0)))


def free_memory(kind: str, index: int) -> int | None:
    """None: TensorFlow does not say."""
    return None


def peak_memory(kind: str, index: int) -> int | None:
    """As ``memory.peak_memory``."""
    return int(tf.config.experimental.get_memory_info(f"{kind.upper()}:{index}")["peak"])


def to_tensor(array: np.ndarray[Any, np.dtype[Any]]) -> Any:
    """As ``operations.to_tensor``."""
    if array.dtype.name == "bfloat16":  # which NumPy does not hand over
        return tf.convert_to_tensor(array)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def wait(tensor: Any) -> None:
    """As ``operations.wait``."""
    tensor.numpy()


def fori_loop(start: Any, stop: Any, body: Callable[[Any, Any], Any], state: Any) -> Any:
    """As ``operations.fori_loop``."""
    _, state = tf.while_loop(
        lambda i, _: i < stop, lambda i, carried: (i + 1, body(i, carried)), (start, state)
    )
    return state


def cond(condition: Any, when_true: Callable[[], Any], when_false: Callable[[], Any]) -> Any:
    """As ``operations.cond``."""
    return tf.cond(condition, when_true, when_false)


def map_in_turn(function: Callable[[Any], Any], count: int, like: Any = None) -> Any:
    """As ``operations.map_in_turn``."""
    # Without a signature, map_fn takes the dtype of the numbers.
    if like is None:  # This trace of the function is pruned.
        result = tf.nest.map_structure(tf.TensorSpec.from_tensor, function(tf.constant(0)))
    elif isinstance(like[0][0], int):
        result = tf.TensorSpec(*like)
    else:
        result = tuple(tf.TensorSpec(*each) for each in like)
    return tf.map_fn(function, tf.range(count), fn_output_signature=result, parallel_iterations=1)


def matmul(a: Any, b: Any, transposed: bool, result: str) -> Any:
    """As ``operations.matmul``, of equal dtypes."""
    if result != a.dtype.name and _in_xla.get():
        rows = tf.reshape(a, (-1, a.shape[-1])) if len(b.shape) == 2 else a
        y = tf.raw_ops.BatchMatMulV3(x=rows, y=b, adj_y=transposed, Tout=result)
        return tf.reshape(y, (*a.shape[:-1], y.shape[-1]))
    b = ops.swapaxes(b, -1, -2) if transposed else b
    factors = factor_dtype(a.dtype.name)
    return ops.cast(ops.matmul(ops.cast(a, factors), ops.cast(b, factors)), result)


def factor_dtype(half: str) -> str:
    """As ``operations.factor_dtype``."""
    return half if _in_xla.get() or _rounds_float32_sums(half) else "float32"


@functools.cache
def _rounds_float32_sums(dtype: str) -> bool:
    """Whether TensorFlow's products in ``dtype``, not compiled by XLA, are as ``factor_dtype`` says."""
    if dtype not in ("bfloat16", "float16"):
        return True
    # From here on, the half precision has every other number.
    large = {"bfloat16": 2.0**8, "float16": 2.0**11}[dtype]
    with tf.init_scope():
        rows = tf.constant([[large, 1.0, 0.75, 0.0]] * 3, dtype)
        product = tf.cast(tf.matmul(rows, tf.ones((4, 4), dtype)), "float32")
        return bool(tf.reduce_all(product == large + 2))


def cudnn_attention(q: Any, k: Any, v: Any, causal: bool) -> Any:
    """(batch, length, heads, head size), three times -> the same; inside ``jit_compile`` alone."""
    batch, queries, heads, size = q.shape
    module = stablehlo(batch, heads, queries, k.shape[1], size, q.dtype.name, causal)
    # The text stands for itself on one platform.
    return call_module([q, k, v], module, q.shape, q.dtype, "CUDA")


def call_module(tensors: list[Any], module: str | bytes, shape: Any, dtype: Any, platform: str) -> Any:
    """The one result, of ``shape`` and ``dtype``, of a StableHLO module, run by XLA on "CPU" or "CUDA"."""
    from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_call_module

    return xla_call_module(
        tensors, version=CALL_VERSION, module=module, Sout=[shape], Tout=[dtype], platforms=[platform]
    )[0]
