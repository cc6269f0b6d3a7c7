"""Weight files that may be anything: read, or refused in a sentence, within bounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fuzz import runner, weights

READ = "fuzz.weights:read"


def test_damaged_weight_files(fuzz: Callable[[str, runner.Maker], None]) -> None:
    fuzz(READ, weights.make)


def test_sound_files_are_read(try_out: Callable[[str, Callable[[Path], object]], str]) -> None:
    """What the fuzzer damages is read whole, so that what it finds lies deep."""
    assert try_out(READ, lambda folder: weights.write_model(folder / "model")) == "read"
