"""Fixtures of several modules, and SDGEN_TEST_ISA."""

import os
from collections.abc import Iterator

import limits
import pytest

AS_ON = {
    "avx2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        # TensorFlow uses oneDNN's operations by itself from AVX-512 VNNI on.
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    }
}
"""What the libraries read when they are imported, to compute as on a processor without newer instructions."""

if isa := os.environ.get("SDGEN_TEST_ISA"):
    os.environ.update(AS_ON[isa])

AT_START = dict(os.environ)


@pytest.fixture(autouse=True)
def _environment_of_the_start() -> None:
    """What TensorFlow, JAX and sdgen set when they are imported is not inherited by a test's processes.

    These would take the backend, the cache and the logging of this process for what the user has asked for.
    """
    for name in os.environ.keys() - AT_START.keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]


@pytest.fixture
def bounded() -> Iterator[None]:
    """For tests of what once waited for ever: they fail after a minute."""
    with limits.bound(60):
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of tests/fuzz; here, since pytest looks for them in no folder below."""
    group = parser.getgroup("fuzzers")
    group.addoption("--fuzz-seconds", type=float, default=30, help="how long each fuzzer runs (30)")
    group.addoption("--fuzz-seed", type=int, default=0, help="which inputs the fuzzers make (0)")


@pytest.fixture(scope="session")
def mini():
    """The bundled model on the CPU in float32, loaded and compiled by XLA once for all tests."""
    import sdgen

    return sdgen.load("mini", device="cpu", dtype="float32", jit=True)


@pytest.fixture
def batching(mini, monkeypatch):
    """The bundled model, drawing batches on the CPU as it would on an accelerator."""
    monkeypatch.setattr(mini, "batch_limit", lambda asked=None: asked or 1)
    return mini
