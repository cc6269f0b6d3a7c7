"""Importing and loading are quiet: what TensorFlow logs on its own account is held back, and nothing else."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest
from command import start

from sdgen.files import library_logs

NOISE = b"I0000 00:00:1795599950.842542     536 port.cc:153] oneDNN custom operations are on.\n"
FATAL = b"F0000 00:00:1795599950.842542     536 cpu_feature_guard.cc:11] no AVX\n"


def test_noise_is_held_back_and_other_lines_pass(capfd: pytest.CaptureFixture[str]) -> None:
    with library_logs.held_back():
        os.write(2, NOISE + b"something else\n")
        os.write(2, FATAL)
    assert capfd.readouterr().err.encode() == b"something else\n" + FATAL


def test_an_error_passes_and_stderr_is_as_before(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImportError), library_logs.held_back():
        os.write(2, NOISE + b"why\n")
        raise ImportError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "why\nafter\n"


def test_the_log_shows_what_libraries_say(capfd: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("sdgen")
    before = log.level
    log.setLevel(logging.DEBUG)
    try:
        with library_logs.held_back():
            os.write(2, NOISE)
    finally:
        log.setLevel(before)
    assert capfd.readouterr().err.encode() == NOISE


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_program_that_draws_prints_nothing(small_model: Path, backend: str) -> None:
    script = (
        "import sdgen\n"
        f"pipeline = sdgen.load({str(small_model)!r}, backend='{backend}', jit=True)\n"
        "request = sdgen.Request(prompt='a red heart', seed=7, steps=1, width=64, height=64)\n"
        "assert [image.error for image in pipeline.generate([request])] == [None]\n"
    )
    process = start([sys.executable, "-c", script])
    assert process.communicate(timeout=240) == (b"", b"")
    assert process.returncode == 0
