"""JAX's ``framework.Framework``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    import numpy as np


def devices() -> list[str]:
    """As ``device_names.devices``."""
    names = [f"{device.platform}:{device.id}" for device in jax.devices()]
    return names if jax.default_backend() == "cpu" else [*names, "cpu:0"]


def on_device(kind: str, index: int) -> Any:
    """As ``device_names.on_device``."""
    return jax.default_device(jax.devices(kind)[index])


def without_gradients() -> contextlib.AbstractContextManager[None]:
    """As ``operations.without_gradients``; JAX keeps nothing."""
    return contextlib.nullcontext()


def compute_capability(index: int) -> tuple[int, int]:
    """An NVIDIA GPU's compute capability, which JAX gives as "9.0"; other GPUs have a name such as gfx90a."""
    text = str(getattr(jax.devices("gpu")[index], "compute_capability", ""))
    major, _, minor = text.partition(".")
    return (int(major), int(minor or 0)) if major.isdecimal() else (0, 0)


def free_memory(kind: str, index: int) -> int | None:
    """As ``memory.free_memory``."""
    stats = jax.devices(kind)[index].memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))


def peak_memory(kind: str, index: int) -> int | None:
    """As ``memory.peak_memory``."""
    stats = jax.devices(kind)[index].memory_stats() or {}
    return stats.get("peak_bytes_in_use")


def to_tensor(array: np.ndarray[Any, np.dtype[Any]]) -> Any:
    """As ``operations.to_tensor``."""
    return jax.device_put(array)


def wait(tensor: Any) -> None:
    """As ``operations.wait``."""
    tensor.block_until_ready()


def fori_loop(start: Any, stop: Any, body: Callable[[Any, Any], Any], state: Any) -> Any:
    """As ``operations.fori_loop``."""
    return jax.lax.fori_loop(start, stop, body, state)


def cond(condition: Any, when_true: Callable[[], Any], when_false: Callable[[], Any]) -> Any:
    """As ``operations.cond``."""
    return jax.lax.cond(condition, when_true, when_false)


def map_in_turn(function: Callable[[Any], Any], count: int, like: Any = None) -> Any:
    """As ``operations.map_in_turn``."""
    return jax.lax.map(function, jnp.arange(count))


def matmul(a: Any, b: Any, transposed: bool, result: str) -> Any:
    """As ``operations.matmul``, of equal dtypes."""
    b = jnp.swapaxes(b, -1, -2) if transposed else b
    return jnp.matmul(a, b, preferred_element_type=result)


def factor_dtype(half: str) -> str:
    """As ``operations.factor_dtype``."""
    return half


def cudnn_attention(q: Any, k: Any, v: Any, causal: bool) -> Any:
    """(batch, length, heads, head size), three times -> the same."""
    return jax.nn.dot_product_attention(q, k, v, is_causal=causal, implementation="cudnn")
