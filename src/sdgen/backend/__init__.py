"""TensorFlow or JAX: choosing one, its devices, and what the two say differently.

Keras reads its backend once, at import, so ``activate`` comes before anything that imports Keras. This,
``program`` and ``exported`` are the only modules that name either framework.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.util
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sdgen.backend import program_cache
from sdgen.errors import BackendError
from sdgen.files import library_noise

if TYPE_CHECKING:
    from sdgen.checkpoints.tensors import Array

Item = TypeVar("Item")

BACKENDS = ("tensorflow", "jax")
DTYPES = ("float32", "bfloat16", "float16")

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


def choose(name: str | None = None) -> str:
    """The backend to use: ``name``, else SDGEN_BACKEND, else KERAS_BACKEND, else ``auto``.

    ``auto`` is JAX where it is installed with support for an accelerator and sees one, else TensorFlow.

    Raises:
        BackendError: unknown, or not installed.
    """
    asked = name or os.environ.get("SDGEN_BACKEND") or os.environ.get("KERAS_BACKEND") or "auto"
    if asked == "auto":
        return "jax" if _jax_sees_accelerator() else "tensorflow"
    if asked not in BACKENDS:
        raise BackendError(f"the backend must be auto, tensorflow or jax, not {asked!r}")
    if importlib.util.find_spec(asked) is None:
        raise BackendError(f"the backend {asked} is not installed; run: pip install {asked}")
    return asked


def _jax_sees_accelerator() -> bool:
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "libtpu")
    if importlib.util.find_spec("jax") is None or not any(map(importlib.util.find_spec, plugins)):
        return False
    import jax

    try:
        return bool(jax.default_backend() != "cpu")
    except RuntimeError:  # A plugin without its driver.
        return False


def activate(name: str | None = None) -> str:
    """Makes ``choose(name)`` the backend of Keras in this process and returns it.

    Raises:
        BackendError: another backend is already in use in this process, or the chosen one cannot be imported.
    """
    keras = sys.modules.get("keras")
    if keras is not None and name in (None, "auto"):
        name = keras.backend.backend()
    chosen = choose(name)
    if keras is not None:
        active = keras.backend.backend()
        if active != chosen:
            raise BackendError(
                f"Keras already runs on {active} in this process; start a new one to use {chosen}"
            )
        return chosen
    os.environ["KERAS_BACKEND"] = chosen
    # Both frameworks report the hardware that they do not find, on stderr; errors still come as exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if chosen == "tensorflow":
        _cache_tensorflow_programs()
    try:
        _import_apart(chosen)
    except ImportError as error:
        raise BackendError(f"{chosen} is installed but cannot be imported: {error}") from None
    if chosen == "jax":
        _configure_jax()
    return chosen


def _import_apart(framework: str) -> None:
    """Imports in a thread of its own.

    An import leaves frames in cycles, which ``gc.freeze`` keeps for ever, and a frame keeps the locals of all
    its callers: with the first model's loader among them, that model would never leave the memory.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="sdgen-import") as executor:
        executor.submit(_import, framework).result()


def _import(framework: str) -> None:
    """Imports a framework and Keras.

    They make a million objects that stay: a quarter of the time would go to the collector, which walks them
    again and again.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        if framework == "tensorflow" and "jax" not in sys.modules:
            # TensorFlow Lite imports JAX where it finds it, half a second for nothing.
            sys.modules["jax"] = None  # type: ignore[assignment]
            try:
                _import_quietly(framework)
            finally:
                del sys.modules["jax"]
        _import_quietly(framework)
        importlib.import_module("keras")
        gc.freeze()
    finally:
        if collecting:
            gc.enable()


def _import_quietly(framework: str) -> None:
    if framework not in sys.modules:
        with library_noise.held_back():
            importlib.import_module(framework)


def _cache_tensorflow_programs() -> None:
    """Keeps what XLA compiles on disk; TensorFlow reads the flag at import."""
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "persistent_cache_directory" in flags:
        return
    folder = program_cache.folder("tensorflow")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # Without a cache folder each process compiles anew.
    # XLA splits the variable at spaces that are not quoted.
    quoted = re.sub(r'(["\\])', r"\\\1", str(folder))
    os.environ["TF_XLA_FLAGS"] = f'{flags} --tf_xla_persistent_cache_directory="{quoted}"'.strip()


def _configure_jax() -> None:
    import jax

    jax.config.update("jax_compilation_cache_dir", str(program_cache.folder("jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def leave_gpu_to_jax() -> None:
    """To be called before keras_cv is imported, which imports TensorFlow: it would take the GPU's memory."""
    if active() == "jax":
        _import_quietly("tensorflow")
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")


def active() -> str:
    """The backend in use: "tensorflow" or "jax"."""
    import keras

    return str(keras.backend.backend())


def devices() -> list[str]:
    """Names of the devices of the active backend, accelerators first, for example ["gpu:0", "cpu:0"]."""
    if active() == "jax":
        import jax

        names = [f"{d.platform}:{d.id}" for d in jax.devices()]
        return names if jax.default_backend() == "cpu" else [*names, "cpu:0"]
    import tensorflow as tf

    found = [(d.device_type.lower(), d.name.rsplit(":", 1)[1]) for d in tf.config.list_logical_devices()]
    found.sort(key=lambda pair: pair[0] == "cpu")
    return [f"{kind}:{index}" for kind, index in found if kind in ("gpu", "tpu", "cpu")]


def find_device(name: str | None = None) -> str:
    """The device to use: the first for None, "auto" or an accelerator's bare kind ("gpu").

    Raises:
        BackendError: there is no such device.
    """
    present = devices()
    if name in (None, "auto"):
        return present[0]
    wanted = str(name).lower().replace("cuda", "gpu")
    for device in present:
        if wanted in (device, device.split(":")[0]):
            return device
    raise BackendError(f"{active()} sees no device {name!r} here; it sees {', '.join(present)}")


def free_memory(device: str) -> int | None:
    """Bytes of a device's memory that are free, or None where the backend does not say."""
    kind, index = device.split(":")
    if kind == "cpu" or active() != "jax":
        return None
    import jax

    stats = jax.devices(kind)[int(index)].memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))


def peak_memory(device: str) -> int | None:
    """The most bytes of a device's memory that this process has used at once; None where nobody knows.

    For the CPU it is the process's resident memory.
    """
    kind, index = device.split(":")
    if kind == "cpu":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if active() == "jax":
        import jax

        stats = jax.devices(kind)[int(index)].memory_stats() or {}
        return stats.get("peak_bytes_in_use")
    import tensorflow as tf

    return int(tf.config.experimental.get_memory_info(f"{kind.upper()}:{index}")["peak"])


def default_dtype(device: str) -> str:
    """What a device computes in if nobody says.

    On a CPU that is float32, the reference's, though one that has bfloat16 is faster in it. That has
    float32's range and is native from NVIDIA's Ampere on (compute capability 8.0) and on TPUs; float16
    serves what came before.
    """
    kind, index = device.split(":")
    if kind == "cpu":
        return "float32"
    if kind == "gpu":
        return "bfloat16" if _compute_capability(int(index)) >= (8, 0) else "float16"
    return "bfloat16"


def low_memory_dtype(device: str) -> str:
    """As ``default_dtype``, and bfloat16 on a CPU."""
    return "bfloat16" if device.startswith("cpu") else default_dtype(device)


def _compute_capability(index: int) -> tuple[int, int]:
    """NVIDIA's; (0, 0) for other makes, of which JAX gives a name such as gfx90a."""
    if active() == "jax":
        import jax

        text = str(getattr(jax.devices("gpu")[index], "compute_capability", ""))
        major, _, minor = text.partition(".")
        return (int(major), int(minor or 0)) if major.isdecimal() else (0, 0)
    import tensorflow as tf

    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[index])
    return tuple(details.get("compute_capability", (0, 0)))


def on_device(device: str) -> Any:
    """A context in which tensors are made and programs run on ``device``."""
    kind, index = device.split(":")
    if active() == "jax":
        import jax

        return jax.default_device(jax.devices(kind)[int(index)])
    import tensorflow as tf

    return tf.device(f"/{kind}:{index}")


def each_on_device(device: str, items: Iterator[Item]) -> Iterator[Item]:
    """The items of a generator, each made on ``device``, which is not the consumer's in between.

    A generator that yields inside ``on_device`` would hand that to its consumer, and two of them that take
    turns would leave it in the wrong order, which TensorFlow refuses.
    """
    nothing = object()
    while True:
        with on_device(device):
            item = next(items, nothing)
        if item is nothing:
            return
        yield cast(Item, item)


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
    if active() == "jax":
        import jax

        return jax.device_put(array)
    import tensorflow as tf

    if array.dtype.name == "bfloat16":  # which NumPy does not hand over
        return tf.convert_to_tensor(array)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def wait(tensor: Any) -> None:
    """Returns when ``tensor`` has been computed."""
    if active() == "jax":
        tensor.block_until_ready()
    else:
        tensor.numpy()


def fori_loop(start: Any, stop: Any, body: Callable[[Any, Any], Any], state: Any) -> Any:
    """``for i in range(start, stop): state = body(i, state)``, with bounds that the program takes as data."""
    if active() == "jax":
        import jax

        return jax.lax.fori_loop(start, stop, body, state)
    import tensorflow as tf

    _, state = tf.while_loop(
        lambda i, _: i < stop, lambda i, carried: (i + 1, body(i, carried)), (start, state)
    )
    return state


def cond(condition: Any, when_true: Callable[[], Any], when_false: Callable[[], Any]) -> Any:
    """The result of one of two functions, of which the other is not computed."""
    if active() == "jax":
        import jax

        return jax.lax.cond(condition, when_true, when_false)
    import tensorflow as tf

    return tf.cond(condition, when_true, when_false)


_in_xla: ContextVar[bool] = ContextVar("in_xla", default=False)


@contextlib.contextmanager
def xla() -> Iterator[None]:
    """While TensorFlow traces what XLA will compile."""
    token = _in_xla.set(True)
    try:
        yield
    finally:
        _in_xla.reset(token)


def matmul(a: Any, b: Any, transposed: bool = False, dtype: Any = None) -> Any:
    """The product of matrices, a b or a b^T, over leading batch axes, of which b may have none.

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
    import keras
    from keras import ops

    narrow, wide = sorted((keras.backend.standardize_dtype(t.dtype) for t in (a, b)), key=_WIDTH.index)
    result = keras.backend.standardize_dtype(dtype or wide)
    a, b = ops.cast(a, narrow), ops.cast(b, narrow)
    if active() == "jax":
        import jax.numpy as jnp

        b = jnp.swapaxes(b, -1, -2) if transposed else b
        return jnp.matmul(a, b, preferred_element_type=result)
    if result != narrow and _in_xla.get():
        import tensorflow as tf

        rows = tf.reshape(a, (-1, a.shape[-1])) if len(b.shape) == 2 else a
        y = tf.raw_ops.BatchMatMulV3(x=rows, y=b, adj_y=transposed, Tout=result)
        return tf.reshape(y, (*a.shape[:-1], y.shape[-1]))
    b = ops.swapaxes(b, -1, -2) if transposed else b
    factors = factor_dtype(narrow)
    return ops.cast(ops.matmul(ops.cast(a, factors), ops.cast(b, factors)), result)


def factor_dtype(dtype: Any) -> str:
    """The dtype in which factors of ``dtype`` are to be multiplied and convolved.

    It is ``dtype`` where the result is their sum in float32, rounded to nearest at most; else float32. XLA
    sums so. TensorFlow's operations do where oneDNN has a processor's instructions for a half precision.
    Without those, results in bfloat16 are cut off, not rounded: each is smaller, by up to 2^-7.
    """
    import keras

    name = str(keras.backend.standardize_dtype(dtype))
    if active() == "jax" or _in_xla.get() or name not in ("bfloat16", "float16"):
        return name
    return name if _rounds_float32_sums(name) else "float32"


@functools.cache
def _rounds_float32_sums(dtype: str) -> bool:
    """Whether TensorFlow's products in ``dtype``, not compiled by XLA, are as ``factor_dtype`` says."""
    import tensorflow as tf

    # From here on, the half precision has every other number.
    large = {"bfloat16": 2.0**8, "float16": 2.0**11}[dtype]
    with tf.init_scope():
        rows = tf.constant([[large, 1.0, 0.75, 0.0]] * 3, dtype)
        product = tf.cast(tf.matmul(rows, tf.ones((4, 4), dtype)), "float32")
        return bool(tf.reduce_all(product == large + 2))


def map_in_turn(function: Callable[[Any], Any], count: int) -> Any:
    """``stack([function(i) for i in range(count)])`` as a loop of the program, one after the other.

    Intermediate results of one turn are the only ones in memory.
    """
    if active() == "jax":
        import jax

        return jax.lax.map(function, jax.numpy.arange(count))
    import tensorflow as tf

    # Without a signature, map_fn takes the dtype of the numbers; this trace of the function is pruned.
    result = tf.nest.map_structure(tf.TensorSpec.from_tensor, function(tf.constant(0)))
    return tf.map_fn(function, tf.range(count), fn_output_signature=result, parallel_iterations=1)


def attention(device: str, dtype: str) -> Callable[..., Any]:
    """The fastest attention for a device; what it computes is ``networks.attention.scaled_dot_product``.

    On a GPU in half precision that is cuDNN's fused attention, from NVIDIA's Ampere on (measured in
    docs/performance.md), elsewhere ``networks.chunked_attention``.
    """
    from sdgen.networks import cudnn_attention
    from sdgen.networks.chunked_attention import chunked

    kind, index = device.split(":")
    half = dtype in cudnn_attention.ELEMENT_TYPES
    if kind != "gpu" or not half or _compute_capability(int(index)) < (8, 0):
        return chunked
    cudnn = _cudnn_in_jax if active() == "jax" else _cudnn_in_tensorflow

    def fused(q: Any, k: Any, v: Any, causal: bool = False) -> Any:
        if not cudnn_attention.supports(dtype, q.shape[-1]):  # The VAE's single head is 512 wide.
            return chunked(q, k, v, causal)
        from keras import ops

        q, k, v = (ops.transpose(t, (0, 2, 1, 3)) for t in (q, k, v))
        return ops.transpose(cudnn(q, k, v, causal), (0, 2, 1, 3))

    return fused


def _cudnn_in_jax(q: Any, k: Any, v: Any, causal: bool) -> Any:
    """(batch, length, heads, head size), three times -> the same."""
    import jax

    return jax.nn.dot_product_attention(q, k, v, is_causal=causal, implementation="cudnn")


def _cudnn_in_tensorflow(q: Any, k: Any, v: Any, causal: bool) -> Any:
    """(batch, length, heads, head size), three times -> the same; inside ``jit_compile`` alone."""
    from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_call_module

    from sdgen.networks.cudnn_attention import stablehlo

    batch, queries, heads, size = q.shape
    module = stablehlo(batch, heads, queries, k.shape[1], size, q.dtype.name, causal)
    # Version 9 is what TensorFlow 2.19 and newer read; the text stands for itself on one platform.
    return xla_call_module(
        [q, k, v], version=9, module=module, Sout=[q.shape], Tout=[q.dtype], platforms=["CUDA"]
    )[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, of Python or the active backend, says that memory ran out."""
    if isinstance(error, MemoryError):
        return True
    text = f"{type(error).__name__}: {error}"
    return "RESOURCE_EXHAUSTED" in text or "ResourceExhausted" in text or "Out of memory" in text
