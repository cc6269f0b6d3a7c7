"""Which framework to use: what is asked for, what is installed, what Keras runs on already."""

from __future__ import annotations

import importlib.util
import os
import sys

from sdgen.backend import importing
from sdgen.errors import BackendError

BACKENDS = ("tensorflow", "jax")


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
    if keras is None:
        importing.import_framework(chosen)
    elif (running := keras.backend.backend()) != chosen:
        raise BackendError(
            f"Keras already runs on {running} in this process; start a new one to use {chosen}"
        )
    return chosen


def active() -> str:
    """The backend in use: "tensorflow" or "jax"."""
    import keras

    return str(keras.backend.backend())
