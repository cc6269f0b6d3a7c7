"""TensorFlow or JAX: choosing one, its devices, and compiling functions with XLA.

Keras reads its backend once, at import, so ``activate`` comes before anything that imports Keras. This
is the only module that names either framework.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

from sdgen import folders
from sdgen.errors import BackendError

BACKENDS = ("tensorflow", "jax")
DTYPES = ("float32", "bfloat16", "float16")


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
        importlib.import_module(chosen)
    except ImportError as error:
        raise BackendError(f"{chosen} is installed but cannot be imported: {error}") from None
    if chosen == "jax":
        _configure_jax()
    return chosen


def _cache_tensorflow_programs() -> None:
    """Keeps what XLA compiles on disk; TensorFlow reads the flag at import.

    Programs are machine code: the folder is named after TensorFlow's version and the processor's features,
    so that a home folder shared by several machines never serves one the other's code.
    """
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "persistent_cache_directory" in flags:
        return
    key = hashlib.sha256(f"{metadata.version('tensorflow')} {_processor()}".encode()).hexdigest()[:16]
    folder = folders.cache() / "xla" / key
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # Without a cache folder each process compiles anew.
    os.environ["TF_XLA_FLAGS"] = f"{flags} --tf_xla_persistent_cache_directory={folder}".strip()


def _processor() -> str:
    """The processor's features, as text."""
    try:
        with open("/proc/cpuinfo") as file:
            return next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return " ".join(platform.uname())


def _configure_jax() -> None:
    import jax

    cache = folders.cache() / "jax"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    # keras_cv imports TensorFlow, which would take the whole memory of the GPU.
    if jax.default_backend() != "cpu":
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


def default_dtype(device: str) -> str:
    """The widest dtype that is fast on a device: see the table in the code.

    CPUs compute in float32. bfloat16 has float32's range and is native from NVIDIA's Ampere on
    (compute capability 8.0) and on TPUs; float16 serves what came before.
    """
    kind, index = device.split(":")
    if kind == "cpu":
        return "float32"
    if kind == "gpu":
        return "bfloat16" if _compute_capability(int(index)) >= (8, 0) else "float16"
    return "bfloat16"


def _compute_capability(index: int) -> tuple[int, int]:
    if active() == "jax":
        import jax

        text = str(getattr(jax.devices("gpu")[index], "compute_capability", "0.0"))
        major, _, minor = text.partition(".")
        return int(major), int(minor or 0)
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


class Program:
    """A compiled function, once for each set of argument shapes.

    Calling it runs ``function(weights, *arguments)`` on tensors or NumPy arrays and returns tensors.

    Attributes:
        compilations: how many times it was traced, which is how many programs it has become.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        weights: Any,
        jit: bool = True,
        traced: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is compiled yet.

        Args:
            function: takes ``weights`` and the arguments of a call.
            weights: a tree of tensors.
            jit: False asks for TensorFlow's graph runtime in place of XLA; JAX knows XLA alone.
            traced: called when TensorFlow has traced the function and XLA is about to compile it, without
                holding Python's lock. TensorFlow numbers functions as it traces them and its cache of
                programs sees the numbers, so what is to trace meanwhile starts here and not before.
        """
        self.compilations = 0

        def trace(weights: Any, *arguments: Any) -> Any:
            self.compilations += 1
            return function(weights, *arguments)

        if active() == "jax":
            import jax

            compiled = jax.jit(trace)
            self._run: Callable[..., Any] = lambda *arguments: compiled(weights, *arguments)
            return
        import tensorflow as tf

        compiled = tf.function(
            lambda *arguments: trace(weights, *arguments), jit_compile=jit, autograph=False
        )

        def run(*arguments: Any) -> Any:
            known = self.compilations
            compiled.get_concrete_function(*arguments)
            if self.compilations > known:
                traced()
            return compiled(*arguments)

        self._run = run

    def __call__(self, *arguments: Any) -> Any:
        return self._run(*arguments)


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


def attention(device: str, dtype: str) -> Callable[..., Any]:
    """The fastest attention for a device; what it computes is ``networks.attention.scaled_dot_product``.

    JAX on a GPU in half precision has cuDNN's fused attention (measured in docs/performance.md).
    """
    from sdgen.networks.attention import scaled_dot_product

    if active() != "jax" or not device.startswith("gpu") or dtype == "float32":
        return scaled_dot_product
    import jax

    def fused(q: Any, k: Any, v: Any, causal: bool = False) -> Any:
        if q.shape[-1] > 128:  # cuDNN's limit; the VAE's single head is 512 wide.
            return scaled_dot_product(q, k, v, causal)
        q, k, v = (t.transpose(0, 2, 1, 3) for t in (q, k, v))
        out = jax.nn.dot_product_attention(q, k, v, is_causal=causal, implementation="cudnn")
        return out.transpose(0, 2, 1, 3)

    return fused


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, of Python or the active backend, says that memory ran out."""
    if isinstance(error, MemoryError):
        return True
    text = f"{type(error).__name__}: {error}"
    return "RESOURCE_EXHAUSTED" in text or "ResourceExhausted" in text or "Out of memory" in text
