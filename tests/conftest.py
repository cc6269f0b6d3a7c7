import pytest


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
