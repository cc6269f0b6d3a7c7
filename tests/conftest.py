import pytest


@pytest.fixture(scope="session")
def mini():
    """The bundled model on the CPU in float32, loaded and compiled by XLA once for all tests."""
    import sdgen

    return sdgen.load("mini", device="cpu", dtype="float32", jit=True)
