"""Operations on tensors of the active backend that ``keras.ops`` lacks, or has in another form."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from sdgen.backend import cudnn_attention
from sdgen.backend.framework import framework

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_WIDTH = ("bfloat16", "float16", "float32", "float64")
"""Dtypes from the narrowest on."""


class _Operations:
    """``keras.ops``, imported when the first operation is asked for: networks can be described without it."""

    def __getattr__(self, name: str) -> Any:
        operation = getattr(importlib.import_module("keras.ops"), name)
        setattr(self, name, operation)
        return operation


ops: Any = _Operations()
"""Operations on tensors of the active backend, by the names of ``keras.ops``."""


def empty_array(shape: tuple[int, ...], dtype: str) -> Array:
    """An array for ``to_tensor``, its values not set."""
    import mmap

    import ml_dtypes
    import numpy as np

    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    # On pages of its own: TensorFlow and XLA use memory that is aligned so as it is. NumPy's own would
    # come in huge pages, which take a virtual machine twice as long to set aside.
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    memory = mmap.mmap(-1, max(1, math.prod(shape)) * kind.itemsize, **private)
    return np.frombuffer(memory, kind, math.prod(shape)).reshape(shape)


def to_tensor(array: Array) -> Any:
    """An array of ``empty_array``, filled, as a tensor; on a CPU it may be the tensor's memory from here on.

    Under JAX it is on the device of ``on_device``. Under TensorFlow it may still be on the CPU, from where a
    variable copies it to its own device.
    """
    return framework().to_tensor(array)


def wait(tensor: Any) -> None:
    """Returns when ``tensor`` has been computed."""
    framework().wait(tensor)


def without_gradients() -> AbstractContextManager[None]:
    """A context for Keras' models that are only run: what is traced in it is let go of with the model."""
    return framework().without_gradients()


def fori_loop(start: Any, stop: Any, body: Callable[[Any, Any], Any], state: Any) -> Any:
    """``for i in range(start, stop): state = body(i, state)``, with bounds that the program takes as data."""
    return framework().fori_loop(start, stop, body, state)


def cond(condition: Any, when_true: Callable[[], Any], when_false: Callable[[], Any]) -> Any:
    """The result of one of two functions; the other one is not computed."""
    return framework().cond(condition, when_true, when_false)


def map_in_turn(function: Callable[[Any], Any], count: int, like: Any = None) -> Any:
    """``stack([function(i) for i in range(count)])`` as a loop of the program, one after the other.

    Intermediate results of one turn are the only ones in memory.

    Args:
        function: gives a tensor or a tuple of some.
        count: of turns.
        like: (shape, dtype) of what it gives, or a tuple of such; where it is not known, TensorFlow traces
            the function twice.
    """
    return framework().map_in_turn(function, count, like)


def matmul(a: Any, b: Any, transposed: bool = False, dtype: Any = None) -> Any:
    """The product of matrices, a b or a b^T, over leading batch axes; b may be without them.

    Both are rounded to the narrower dtype of the two, and products are summed in float32; the result is in
    the wider dtype, or in ``dtype``. XLA rounds nothing in between; asked so, it uses a CPU's instructions
    for bfloat16.

    Args:
        a: (..., n, k), float32 or half precision.
        b: (..., k, m) with a's leading axes, or (k, m); with ``transposed``, (..., m, k) or (m, k).
        transposed: multiply by b's transpose.
        dtype: of the result.

    Returns:
        (..., n, m).
    """
    narrow, wide = sorted((_dtype_name(t.dtype) for t in (a, b)), key=_WIDTH.index)
    result = _dtype_name(dtype or wide)
    return framework().matmul(ops.cast(a, narrow), ops.cast(b, narrow), transposed, result)


def factor_dtype(dtype: Any) -> str:
    """The dtype in which factors of ``dtype`` are to be multiplied and convolved.

    It is ``dtype`` where the result is their sum in float32, rounded to nearest at most; else float32. XLA
    sums so. TensorFlow's operations do where oneDNN has a processor's instructions for a half precision.
    Without those, results in bfloat16 are cut off, not rounded: each is smaller, by up to 2^-7.
    """
    name = _dtype_name(dtype)
    return framework().factor_dtype(name) if name in ("bfloat16", "float16") else name


def _dtype_name(dtype: Any) -> str:
    import keras

    return str(keras.backend.standardize_dtype(dtype))


def fused_attention(device: str, dtype: str, head_size: int) -> Callable[..., Any] | None:
    """A kernel that computes attention at once, in compiled programs; None where there is none.

    On a GPU in half precision there is cuDNN's, from NVIDIA's Ampere on (measured in docs/performance.md).

    Args:
        device: where it runs.
        dtype: of the tensors.
        head_size: their last axis.

    Returns:
        A function of q (batch, heads, n, head size), k and v (batch, heads, m, head size) and whether a
        position sees those before it alone. It gives softmax(q k^T / sqrt(head size)) v in q's shape.
    """
    kind, index = device.split(":")
    if kind != "gpu" or not cudnn_attention.supports(dtype, head_size):
        return None
    if framework().compute_capability(int(index)) < (8, 0):
        return None

    def fused(q: Any, k: Any, v: Any, causal: bool = False) -> Any:
        q, k, v = (ops.transpose(t, (0, 2, 1, 3)) for t in (q, k, v))
        return ops.transpose(framework().cudnn_attention(q, k, v, causal), (0, 2, 1, 3))

    return fused
