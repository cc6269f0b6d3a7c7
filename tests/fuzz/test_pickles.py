"""Pickles of weights that may be anything: read, or refused in a sentence, within bounds; nothing is run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pickled_files import write_older, write_zip

from fuzz import pickles, runner

READ = "fuzz.pickles:read"

TryOut = Callable[[str, Callable[[Path], object]], str]


def test_a_thousand_damaged_pickles_and_safetensors(fuzz: Callable[..., None]) -> None:
    fuzz(READ, pickles.make, least=1000)


def test_what_is_run_would_be_seen(tmp_path: Path) -> None:
    """A target that does what a hostile pickle asks for is a finding."""
    (tmp_path / "input").mkdir()
    with runner.Target("fuzz.probes:run_a_pickle") as target:
        finding, _ = target(tmp_path / "input")
    assert finding and finding.kind == "exception" and "something was run" in finding.detail


def _sound(folder: Path) -> None:
    write_zip(folder / "a.pt", {"<x>": np.ones((2, 8), np.float32)})
    write_older(folder / "b.pt", {"<x>": np.ones((2, 8), np.float16)})


def test_sound_pickles_are_read(try_out: TryOut) -> None:
    """What the fuzzer damages is read whole, so that what it finds lies deep."""
    assert try_out(READ, _sound) == "read"


def test_a_pipe_for_a_pickle_is_refused(try_out: TryOut) -> None:
    assert "is a named pipe" in try_out(READ, lambda folder: os.mkfifo(folder / "x.pt"))
