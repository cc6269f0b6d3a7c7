"""Running the sdgen command in tests: in this process or in one of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
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
        loads: the arguments of every ``sdgen.load``.
    """

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: bool = False) -> None:
        for name in [*os.environ]:
            if name.startswith("SDGEN_") and name != "SDGEN_CACHE_DIR":
                monkeypatch.delenv(name)
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
        """Run in this process with the mini model."""
        return self.run(*arguments, "--model", "mini", **more)

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


def interrupted_twice(process: subprocess.Popen[bytes]) -> int:
    """The status of a process that keeps working after the first SIGINT and leaves soon after the second."""
    for _ in range(2):
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
    began = time.monotonic()
    process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode is not None
    return process.returncode


def start(command: list[str], **more: Any) -> subprocess.Popen[bytes]:
    """A process with pipes for what is not given, that finds the package under test."""
    source = str(Path(sdgen.__file__).parent.parent)
    paths = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, **{**pipes, **more})
