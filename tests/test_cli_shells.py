"""Completion in the shells themselves, each on a terminal of its own."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import Command

import sdgen as package

SECONDS = 60.0
"""Longest wait for a shell's answer; a machine under load may take several to start Python."""

CASES = [
    ("sdgen batch pro", "prompts.jsonl"),
    ("sdgen batch prompts.jsonl --wildcards car", "cards/"),
    ("sdgen fox --grid she", "sheet.png"),
    ("sdgen gallery car", "cards/"),
    ("sdgen grid sheet.png -o she", "sheet.png"),
    ("sdgen 'a red fox' --sched", "--schedule"),
    ("sdgen fox --schedule kar", "karras"),
    ("sdgen fox --schedule=kar", "--schedule=karras"),
    ("sdgen fox -m min", "mini"),
    ("sdgen doc", "doctor"),
    ("sdgen help doc", "doctor"),
    ("sdgen models ver", "verify"),
    ("sdgen config set sched", "schedule"),
    ("sdgen config set schedule kar", "karras"),
    ("sdgen doctro --sched", "--schedule"),
]

SETUP = {
    "bash": "PS1='$ '; bind 'set enable-bracketed-paste off'; eval \"$(sdgen completion bash)\"",
    "zsh": "PS1='$ '; unsetopt zle_bracketed_paste; autoload -U compinit; compinit -u -D; "
    'eval "$(sdgen completion zsh)"',
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with files to complete and sdgen on the path."""
    Command(tmp_path, monkeypatch)
    program = tmp_path / "bin" / "sdgen"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom sdgen.__main__ import main\nmain()\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(program.parent), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", str(Path(package.__file__).parent.parent))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "dumb")
    Path("cards").mkdir()
    for name in ("prompts.jsonl", "sheet.png"):
        Path(name).touch()
    return Path.cwd()


class Terminal:
    """A shell on a terminal of 200 columns."""

    def __init__(self, *command: str) -> None:
        self.shown = b""
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            os.environ["COLUMNS"] = "200"
            os.execvp(command[0], command)

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def await_text(self, text: str) -> None:
        """Read until the shell has shown something since the last call."""
        ends = time.monotonic() + SECONDS
        while text.encode() not in self.shown:
            left = ends - time.monotonic()
            assert left > 0, f"{text!r} does not come; {self.shown!r} has"
            if select.select([self._terminal], [], [], left)[0]:
                self.shown += os.read(self._terminal, 65536)
        self.shown = b""

    def close(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._process, 0)


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_on_a_terminal_completes(folder: Path, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    quiet = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}
    terminal = Terminal(shell, *quiet[shell])
    try:
        terminal.type(f"{SETUP[shell]}; echo re''ady\n")
        terminal.await_text("ready")
        for typed, expected in CASES:
            # What comes after the typed part is not echoed, but written by the completion.
            rest = expected[len(typed.split(" ")[-1]) :]
            terminal.type(f"{typed}\t")
            terminal.await_text(typed)
            terminal.await_text(rest)
            terminal.type("\x15echo do''ne\n")  # Control-U clears the line.
            terminal.await_text("done")
    finally:
        terminal.close()


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish here")
@pytest.mark.parametrize(("typed", "expected"), CASES)
def test_fish_completes(folder: Path, typed: str, expected: str) -> None:
    quoted = typed.replace("'", "\\'")
    script = f"sdgen completion fish | source; complete -C '{quoted}'"
    answer = subprocess.run(
        ["fish", "--no-config", "-c", script], stdout=subprocess.PIPE, timeout=SECONDS, text=True
    ).stdout
    assert expected in [line.split("\t")[0] for line in answer.splitlines()]


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish here")
def test_fish_shows_the_whole_description(folder: Path) -> None:
    script = "sdgen completion fish | source; complete -C 'sdgen fox --guidance-r'"
    answer = subprocess.run(
        ["fish", "--no-config", "-c", script], stdout=subprocess.PIPE, timeout=SECONDS, text=True
    ).stdout
    assert re.search(r"--guidance-rescale\tHow far .*, 0 to 1\.", answer)


def test_the_scripts_are_changed_where_they_are_meant_to_be(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from sdgen.cli.root import root

    assert "compset -P" in CliRunner().invoke(root, ["completion", "zsh"]).stdout
    assert "--max 1" in CliRunner().invoke(root, ["completion", "fish"]).stdout
