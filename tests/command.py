"""Running the sdgen command in tests: in this process or in one of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import stand_in
from click.testing import CliRunner, Result

import sdgen
from sdgen.cli.root import root


class Command:
    """sdgen in an empty folder with no settings; the stand-in pipeline draws unless ``real`` is set.

    Attributes:
        folder: the current folder of the command.
        config: the folder of config.toml.
        model: what ``draw`` draws with.
        loads: the arguments of every ``sdgen.load``.
    """

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: bool = False) -> None:
        for name in [*os.environ]:
            if name.startswith("SDGEN_") and name != "SDGEN_CACHE_DIR":
                monkeypatch.delenv(name)
        self.model = "mini"
        self.folder = tmp_path / "here"
        self.config = tmp_path / "config"
        for folder in (self.folder, self.config):
            folder.mkdir()
        monkeypatch.chdir(self.folder)
        monkeypatch.setenv("SDGEN_CONFIG_DIR", str(self.config))
        monkeypatch.setenv("SDGEN_MODELS_DIR", str(tmp_path / "models"))
        monkeypatch.setenv("SDGEN_STATE_DIR", str(tmp_path / "state"))
        for name in ("HF_HOME", "KERAS_HOME"):
            monkeypatch.setenv(name, str(tmp_path / name))
        self.loads: list[dict[str, Any]] = []
        if not real:
            monkeypatch.setitem(vars(sdgen), "load", self._load)

    def run(self, *arguments: str, input: str | bytes | None = None) -> Result:
        """Run in this process."""
        return CliRunner().invoke(root, list(arguments), input=input)

    def draw(self, *arguments: str, **more: Any) -> Result:
        """Run in this process with a model, the mini model where no other is chosen."""
        return self.run(*arguments, "--model", self.model, **more)

    def drawn(self, *arguments: str) -> list[dict[str, Any]]:
        """The sidecars of what is drawn, in order."""
        result = self.draw(*arguments, "--json")
        assert result.exit_code == 0, result.stderr
        lines = map(json.loads, result.stdout.splitlines())
        return [json.loads(Path(line["sidecar"]).read_text(encoding="utf-8")) for line in lines]

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        """Start a process of its own, with the stand-in pipeline."""
        script = str(Path(stand_in.__file__))
        return start([sys.executable, script, *arguments], **more)

    def _load(self, model: str, **options: Any) -> stand_in.Pipeline:
        self.loads.append({"model": model, **options})
        return stand_in.load(model, **options)


def await_message(process: subprocess.Popen[bytes], text: bytes) -> None:
    """Returns when the process has said something."""
    assert process.stderr is not None
    for line in iter(process.stderr.readline, b""):
        if text in line:
            return
    raise AssertionError(f"the process ended without saying {text!r}")


def await_change(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Returns when a file of a folder has come or gone, or the process has ended."""
    before = set(os.listdir(folder))
    while set(os.listdir(folder)) == before and process.poll() is None:
        pass


def interrupt(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> None:
    """Returns when the stand-in's process has taken a signal."""
    process.send_signal(number)
    await_message(process, b"signal taken")


def interrupted_twice(process: subprocess.Popen[bytes]) -> int:
    """The status of a stand-in's process that works on after a first SIGINT and leaves after a second."""
    interrupt(process)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    # What it is in the middle of takes longer.
    process.communicate(timeout=40)
    assert process.returncode is not None
    return process.returncode


def start(command: list[str], **more: Any) -> subprocess.Popen[bytes]:
    """A process with pipes for what is not given, that finds the package under test."""
    source = str(Path(sdgen.__file__).parent.parent)
    paths = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, **{**pipes, **more})
