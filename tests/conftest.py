"""Fixtures of several modules, and SDGEN_TEST_ISA."""

import contextlib
import ctypes
import gc
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

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

# The allocator that TensorFlow uses with oneDNN never gives memory back: after a model of 8 GB a worker would
# keep these to its end.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")

AT_START = dict(os.environ)

# A tenth of the suite's time went by in looking for garbage among what frameworks allocate while they trace.
# What is in cycles is collected after each file.
gc.set_threshold(100_000, 50, 100)


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
    group.addoption("--fuzz-inputs", type=int, default=120, help="how many inputs each fuzzer makes (120)")
    group.addoption("--fuzz-seconds", type=float, help="how long it makes them, in place of a number")
    group.addoption("--fuzz-seed", type=int, default=0, help="which inputs the fuzzers make (0)")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two workers on two cores or more; none where files or tests are named: one process starts sooner.

    A worker comes to take 9 GB of memory where it draws with keras_cv at full width; where there is less, one
    process does it all.
    """
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 22e9:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    if named and not any(Path(argument).is_dir() for argument in config.args):
        return 0
    return 2 if cores > 1 else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that fork first; then those with many slow tests, so that no worker ends with one."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    forking = {item.path for item in items if item.get_closest_marker("forks")}
    items.sort(key=lambda item: (item.path not in forking, -slow[item.path]))


_FRAMEWORKS = pytest.StashKey[set[str]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Notes which frameworks the tests' modules have imported."""
    session.config.stash[_FRAMEWORKS] = {"jax", "keras", "tensorflow"} & sys.modules.keys()


@pytest.fixture
def frameworks_at_start(pytestconfig: pytest.Config) -> set[str]:
    """Frameworks that were imported before the first test ran."""
    return pytestconfig.stash[_FRAMEWORKS]


@pytest.fixture(scope="module", autouse=True)
def _memory_given_back() -> None:
    """Memory that the file before let go of goes back to the system; a worker meets dozens of models.

    Not at the end of that file, when pytest still holds what its last test was given.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # Of glibc.
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session")
def mini():
    """The bundled model on the CPU in float32, loaded and compiled by XLA once for all tests."""
    import sdgen

    return sdgen.load("mini", device="cpu", dtype="float32", jit=True)


@pytest.fixture(scope="session")
def mini_graph():
    """The same in TensorFlow's graph runtime, whose programs are made in a third of the time that XLA takes.

    For tests of what pictures show, not of how they are computed.
    """
    import sdgen

    return sdgen.load("mini", device="cpu", dtype="float32", jit=False)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that compiles soon, for tests of what does not depend on the model."""
    from small_model import write_small_model

    return write_small_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="session")
def small(small_model):
    """That model, loaded as ``mini`` is."""
    import sdgen

    return sdgen.load(str(small_model), device="cpu", dtype="float32", jit=True)


@pytest.fixture
def batching(small, monkeypatch):
    """The small model, drawing batches on the CPU as it would on an accelerator."""
    monkeypatch.setattr(small, "batch_limit", lambda asked=None: asked or 1)
    return small


@pytest.fixture
def graph_batching(batching, monkeypatch):
    """That in TensorFlow's graph runtime, as ``mini_graph``."""
    monkeypatch.setattr(batching, "pays_to_compile", lambda *_: False)
    return batching
