"""Programs that TensorFlow need not trace again: what is stored, what is done where nothing can be."""

from __future__ import annotations

import gzip
import hashlib
import json
import os

import numpy as np
import pytest

from sdgen import backend
from sdgen.backend import program_cache
from sdgen.backend.program import Program


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder of programs."""
    backend.activate("tensorflow")
    monkeypatch.setenv("SDGEN_CACHE_DIR", str(tmp_path))
    return program_cache.folder("tensorflow")


ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
NOTHING = np.zeros((0, 2), np.float32)


def program(traces, factor=2.0):
    """A program with a loop, exact GELU, an unused weight and an argument without elements."""
    import tensorflow as tf
    from keras import ops

    weights = {name: tf.Variable(np.full((3, 3), factor, np.float32)) for name in ("unused", "used")}

    def function(weights, pair, count):
        traces.append(1)
        x, _ = pair
        return backend.fori_loop(
            0, count, lambda _, y: ops.gelu(ops.matmul(y, weights["used"]), approximate=False) / 9, x
        )

    return Program(function, weights)


def run(made, label="a"):
    return made((ROWS, NOTHING), np.asarray(2, np.int32), label=label).numpy()


def test_a_second_program_of_a_label_is_not_traced():
    traces = []
    first, second = program(traces), program(traces)
    expected = run(first, label="")
    assert not second.stored("a")
    traces.clear()
    assert np.array_equal(run(first), expected)
    assert first.stored("a") and len(traces) <= 1
    traces.clear()
    assert np.array_equal(run(second), expected)
    assert traces == []
    assert second.compilations == 1


def test_weights_are_taken_from_the_program_that_runs():
    traces = []
    run(program(traces))
    other = program(traces, factor=1.0)
    assert np.allclose(run(other), run(other, label=""), rtol=1e-6)


def test_another_label_is_another_program():
    made = program([])
    run(made)
    assert not made.stored("b")


def stored(folder):
    (path,) = folder.glob("*.json.gz")
    return path


@pytest.mark.parametrize("part", [slice(None), slice(60, 90), slice(100, None)])
def test_a_damaged_file_is_written_again(folder, part):
    expected = run(program([]))
    damaged = bytearray(stored(folder).read_bytes())
    damaged[part] = b"damaged" if part == slice(None) else bytes(len(damaged[part]))
    stored(folder).write_bytes(damaged)
    assert np.array_equal(run(program([])), expected)
    assert record(folder)["shape"] == [2, 3]


def record(folder):
    """What a stored program says, behind its digest."""
    return json.loads(gzip.decompress(stored(folder).read_bytes())[64:])


def packed(stored):
    """A stored program as it is written."""
    text = json.dumps(stored).encode()
    return gzip.compress(hashlib.sha256(text).hexdigest().encode() + text)


@pytest.mark.parametrize("data", [b"{}", b"[]", b'{"module": 1}', b"", b"\xff", b"[" * 100_000])
def test_what_is_no_program_is_written_again(folder, data):
    expected = run(program([]))
    stored(folder).write_bytes(gzip.compress(data))
    assert np.array_equal(run(program([])), expected)
    assert record(folder)["shape"] == [2, 3]


@pytest.mark.usefixtures("bounded")
def test_a_pipe_in_a_programs_place_is_replaced(folder):
    expected = run(program([]))
    path = stored(folder)
    path.unlink()
    os.mkfifo(path)
    assert np.array_equal(run(program([])), expected)
    assert record(folder)["shape"] == [2, 3]


def test_a_program_that_tensorflow_refuses_is_traced(folder):
    expected = run(program([]))
    traces = []
    made = program(traces)
    path = made._compiled._export("refused").path
    path.write_bytes(packed(record(folder) | {"module": "module {}"}))
    assert np.array_equal(run(made, label="refused"), expected)
    assert traces


def test_what_has_no_stablehlo_is_traced(folder, monkeypatch):
    from sdgen.backend import exported

    monkeypatch.setattr(exported, "_REWRITTEN", ())
    traces = []
    assert np.array_equal(run(program(traces)), run(program([]), label=""))
    assert traces and not list(folder.glob("*.json.gz"))


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SDGEN_CACHE_DIR", str(tmp_path / "file"))
    assert run(program([])).shape == (2, 3)
