"""A program that uses sdgen as a library finds its process as it was; the command's process is its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from command import start

pytestmark = pytest.mark.slow

STATE = """
import gc, json, os, sys
def state():
    keras = sys.modules.get("keras")
    names = ("KERAS_BACKEND", "TF_XLA_FLAGS")
    return [gc.isenabled(), gc.get_freeze_count(), sys.modules.get("jax", "absent") is None,
            [os.environ.get(name) for name in names], keras and keras.config.dtype_policy().name]
"""


def run(script: str) -> bytes:
    """What a process prints that runs ``script``."""
    process = start([sys.executable, "-c", STATE + script])
    printed, messages = process.communicate(timeout=240)
    assert process.returncode == 0, messages.decode()
    return printed


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loading_and_drawing_leave_the_process_as_it_was(small_model: Path, backend: str, dtype: str) -> None:
    assert (
        run(f"""
before = state()
import sdgen
pipeline = sdgen.load({str(small_model)!r}, backend={backend!r}, dtype={dtype!r}, device="cpu", jit=False)
list(pipeline.generate([sdgen.Request(prompt="a fox", steps=1, width=64, height=64)]))
assert state() == [*before[:4], "float32"], (before, state())
import jax, tensorflow
""")
        == b""
    )


def test_the_command_s_shortcuts_are_asked_for() -> None:
    assert (
        run("""
from sdgen import backend
backend.take_shortcuts()
backend.activate("tensorflow")
assert gc.isenabled() and gc.get_freeze_count() > 100_000 and "jax" not in sys.modules
""")
        == b""
    )


def test_jax_s_own_cache_of_the_host_s_is_left_where_it_is() -> None:
    assert (
        run("""
import jax
jax.config.update("jax_compilation_cache_dir", "/nonexistent/of-the-host")
from sdgen import backend
backend.activate("jax")
assert jax.config.jax_compilation_cache_dir == "/nonexistent/of-the-host"
""")
        == b""
    )


def test_stock_networks_leave_keras_dtype_policy_as_it_was() -> None:
    from sdgen import backend

    backend.activate("tensorflow")
    import keras

    from sdgen.pipeline.keras_cv.engine import _dtype_policy

    before = keras.config.dtype_policy().name
    with pytest.raises(ZeroDivisionError), _dtype_policy("bfloat16"):
        assert keras.config.dtype_policy().name == "bfloat16"
        raise ZeroDivisionError
    assert keras.config.dtype_policy().name == before
