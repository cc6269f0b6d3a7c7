"""Importing a framework and Keras, quickly and quietly.

A program that uses this package as a library finds its process as it was: settings that the frameworks read
while they start are taken back. The command's process is its own, and it asks for more (``take_shortcuts``).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from sdgen.backend import program_cache
from sdgen.errors import BackendError
from sdgen.files import library_logs

_shortcuts = False


def take_shortcuts() -> None:
    """Lets ``import_framework`` save time in ways that the rest of the process would notice.

    To be called by a program whose process is its own. The collector never looks again at what there is
    after the import, and TensorFlow Lite is without JAX.
    """
    global _shortcuts
    _shortcuts = True


def import_framework(name: str) -> None:
    """Imports "tensorflow" or "jax", and Keras on it.

    Raises:
        BackendError: it cannot be imported.
    """
    # Both frameworks report the hardware that they do not find, on stderr, and look at this whenever they do
    # so, to the end of the process; errors still come as exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    settings = {"KERAS_BACKEND": name}
    if name == "tensorflow":
        settings |= _cached_programs()
    try:
        with _environment(settings), _collector_paused():
            # An import leaves frames in cycles, which ``gc.freeze`` keeps for ever, and a frame keeps the
            # locals of all its callers: in this thread, a loader and its model may be among them.
            with ThreadPoolExecutor(1, thread_name_prefix="sdgen-import") as executor:
                executor.submit(_import, name).result()
            if _shortcuts:
                gc.freeze()
    except ImportError as error:
        raise BackendError(f"{name} is installed but cannot be imported: {error}") from None
    if name == "jax":
        _cache_jax_programs()


def leave_gpu_to_jax() -> None:
    """To be called before keras_cv is imported, which imports TensorFlow: it would take the GPU's memory."""
    import keras

    if keras.backend.backend() == "jax":
        _import_quietly("tensorflow")
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")


@contextlib.contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Environment variables, until the block ends."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Keeps the collector from walking the million objects that an import makes, again and again.

    They all stay, and it would take a quarter of the time.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _import(name: str) -> None:
    if name == "tensorflow" and _shortcuts and "jax" not in sys.modules:
        _import_tensorflow_without_jax()
    _import_quietly(name)
    importlib.import_module("keras")
    if name == "tensorflow":
        _read_settings()


def _read_settings() -> None:
    """TensorFlow reads its variables when it looks for devices, which the caller does next anyway."""
    import tensorflow as tf

    tf.config.list_logical_devices()


def _import_tensorflow_without_jax() -> None:
    """TensorFlow Lite imports JAX where it finds it, half a second for nothing."""
    sys.modules["jax"] = None  # type: ignore[assignment]
    try:
        _import_quietly("tensorflow")
    finally:
        del sys.modules["jax"]


def _import_quietly(framework: str) -> None:
    if framework not in sys.modules:
        with library_logs.held_back():
            importlib.import_module(framework)


def _cached_programs() -> dict[str, str]:
    """TensorFlow's flag to keep on disk what XLA compiles, as an environment variable."""
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "persistent_cache_directory" in flags:
        return {}
    folder = program_cache.folder("tensorflow")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return {}  # Without a cache folder each process compiles anew.
    # XLA splits the variable at spaces that are not quoted.
    quoted = re.sub(r'(["\\])', r"\\\1", str(folder))
    return {"TF_XLA_FLAGS": f'{flags} --tf_xla_persistent_cache_directory="{quoted}"'.strip()}


def _cache_jax_programs() -> None:
    """Has JAX keep on disk what it compiles, unless it is told where to already."""
    import jax

    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(program_cache.folder("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
