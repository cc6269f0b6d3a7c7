"""The folder of compiled programs: its bounds, what finds them again, sdgen warmup."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import Command

from sdgen.backend import program_cache
from sdgen.errors import ExitCode


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """The folder of TensorFlow's programs in an empty cache folder."""
    monkeypatch.setenv("SDGEN_CACHE_DIR", str(tmp_path / "cache"))
    folder = program_cache.folder("tensorflow")
    folder.mkdir(parents=True)
    return folder


def program(folder: Path, name: str, size: int, hours: float) -> Path:
    """A file that was last used some hours ago."""
    path = folder / name
    path.write_bytes(bytes(size))
    used = time.time() - 3600 * hours
    os.utime(path, (used, used))
    return path


def test_the_least_recently_used_programs_go(programs):
    paths = [program(programs, f"{hours}", 100, hours) for hours in (3, 1, 4, 2)]
    assert program_cache.trim(250) == 200
    assert [path.exists() for path in paths] == [False, True, False, True]
    assert program_cache.size() == 200


def test_what_fits_stays(programs):
    program(programs, "a", 100, 5)
    assert program_cache.trim(100) == 0


def test_what_was_used_a_moment_ago_stays_whatever_the_limit(programs):
    old, new = program(programs, "old", 100, 1), program(programs, "new", 100, 0)
    assert program_cache.trim(0) == 100
    assert (old.exists(), new.exists()) == (False, True)


def test_a_read_program_counts_as_used(programs):
    read = program(programs, "read", 100, 5)
    os.utime(read, (time.time() - 3600, read.stat().st_mtime))
    other = program(programs, "other", 100, 2)
    program_cache.trim(100)
    assert (read.exists(), other.exists()) == (True, False)


def test_trimming_goes_on_past_what_another_process_has_removed(programs, monkeypatch):
    paths = [program(programs, name, 100, 2) for name in "ab"]
    stat = Path.stat

    def vanishing(path, **options):
        if path == paths[0]:
            paths[0].unlink(missing_ok=True)
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", vanishing)
    assert program_cache.trim(0) == 100


def test_no_cache_folder_is_nothing_to_trim(tmp_path, monkeypatch):
    monkeypatch.setenv("SDGEN_CACHE_DIR", str(tmp_path / "none"))
    assert program_cache.trim(0) == program_cache.size() == 0


@pytest.mark.parametrize(("text", "limit"), [("0", 0), ("1.5GB", 1_500_000_000), ("20 mb", 20_000_000)])
def test_a_run_trims_to_the_limit_that_is_set(tmp_path, monkeypatch, text, limit):
    sdgen, limits = Command(tmp_path, monkeypatch), []
    monkeypatch.setattr(program_cache, "trim", limits.append)
    (sdgen.config / "config.toml").write_text(f'cache-limit = "{text}"')
    result = sdgen.draw("a fox")
    assert result.exit_code == ExitCode.OK, result.stderr
    assert limits == [limit]


def test_a_limit_that_is_no_size_is_refused(tmp_path, monkeypatch):
    result = Command(tmp_path, monkeypatch).draw("a fox", "--cache-limit", "lots")
    assert result.exit_code == ExitCode.USAGE
    assert "'lots' is not a number of bytes such as 500MB or 4GB" in result.stderr


@pytest.mark.parametrize("name", ["a folder", 'a "quoted\\\'s" one'])
def test_tensorflow_keeps_programs_in_a_folder_of_any_name(tmp_path, monkeypatch, name):
    folder = tmp_path / name
    monkeypatch.setenv("SDGEN_CACHE_DIR", str(folder))
    monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
    program = """
from sdgen import backend
backend.activate("tensorflow")
import tensorflow as tf
print(float(tf.function(lambda x: x + 1, jit_compile=True)(1.0)))
"""
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert result.stdout == "2.0\n"
    assert any(path.is_file() for path in folder.rglob("*"))
    assert [*tmp_path.iterdir()] == [folder]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_drawing_after_warmup_compiles_nothing(small_model, tmp_path, monkeypatch, backend):
    Command(tmp_path, monkeypatch, real=True)
    monkeypatch.setenv("SDGEN_CACHE_DIR", str(tmp_path / "cache"))
    options = ["--model", str(small_model), "--size", "64x64", "--backend", backend]

    def sdgen(*arguments: str) -> str:
        command = [sys.executable, "-m", "sdgen", *arguments, *options]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert sdgen("warmup").startswith("64x64, batch of 1: compiled, ")
    kept = program_cache.size()
    assert sdgen("warmup").startswith("64x64, batch of 1: was compiled before, ")
    line = json.loads(sdgen("two (blue:1.2) fish", "--steps", "3", "--guidance", "2", "--json"))
    record = json.loads(Path(line["sidecar"]).read_text())
    assert record["compiler"] == "xla"
    assert program_cache.size() == kept
