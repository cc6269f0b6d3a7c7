"""Programs on JAX, which Keras must run on from the start: each test is a process of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(find_spec("jax") is None, reason="no JAX here")

START = """
import threading
from concurrent.futures import Future
from sdgen import backend
backend.activate("jax")
import numpy as np
from sdgen.backend.program import Arriving, Program
"""


def run(script: str) -> str:
    command = [sys.executable, "-c", START + script]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.slow
def test_a_program_is_compiled_before_its_weights_arrive() -> None:
    printed = run("""
import jax
weights, compiled, results = Future(), threading.Event(), []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, *_, **__: "backend_compile" in name and compiled.set()
)
program = Program(lambda w, x: w["scale"] * x, Arriving({"scale": (3,)}, "float32", weights.result))
thread = threading.Thread(target=lambda: results.append(program(np.float32([1, 2, 3]))))
thread.start()
assert compiled.wait(60)
print(program.compilations, results)
weights.set_result({"scale": np.float32([2, 2, 2])})
thread.join()
print(np.asarray(results[0]), np.asarray(program(np.float32([3, 3, 3]))), program.compilations)
""")
    assert printed == "1 []\n[2. 4. 6.] [6. 6. 6.] 1\n"


@pytest.mark.slow
def test_programs_compile_ahead_by_the_shapes_of_each_others_results() -> None:
    printed = run("""
weights = Future()
scale = Program(lambda w, x: {"y": w["scale"] * x}, Arriving({"scale": (3,)}, "float32", weights.result))
add = Program(lambda w, a, b: a["y"] + b, {})
x = np.float32([1, 2, 3])
print(add.ahead(scale.ahead(x), x))
weights.set_result({"scale": np.float32([2, 2, 2])})
print(add(scale(x), x), scale.compilations, add.compilations)
""")
    assert printed == "ShapeDtypeStruct(shape=(3,), dtype=float32)\n[3. 6. 9.] 1 1\n"


@pytest.mark.slow
def test_the_loop_is_compiled_before_the_unet_s_weights_arrive() -> None:
    printed = run("""
import sdgen
from sdgen.pipeline import keras_models
from sdgen.networks.unet import UNet
read, lowered = keras_models.network_weights, threading.Event()

def late(model, layers, component, dtype):
    assert not isinstance(layers, UNet) or lowered.wait(60)
    return read(model, layers, component, dtype)

keras_models.network_weights = late
sdgen.Pipeline._compile_decoder = lambda pipeline: lowered.set()
pipeline = sdgen.load("mini", device="cpu")
(image,) = pipeline.generate([sdgen.Request(prompt="a fox", steps=2, width=64, height=64)])
print(image.error, image.pixels.shape, pipeline.compilations)
""")
    assert printed == "None (64, 64, 3) 1\n"


@pytest.mark.slow
def test_each_set_of_shapes_is_compiled_once() -> None:
    printed = run("""
program = Program(lambda w, x: w + x["a"].sum() + x["b"], np.float32(1))
for n in (2, 3, 2, 3):
    print(float(program({"a": np.ones(n, np.float32), "b": np.float32(n)})), program.compilations)
""")
    assert printed == "5.0 1\n7.0 2\n5.0 2\n7.0 2\n"


@pytest.mark.slow
def test_weights_that_cannot_be_loaded_are_the_callers_error() -> None:
    printed = run("""
weights = Future()
weights.set_exception(OSError("no such weights"))
try:
    Program(lambda w, x: x, Arriving({"a": (1,)}, "float32", weights.result))(np.float32(1))
except OSError as error:
    print(error)
""")
    assert printed == "no such weights\n"
