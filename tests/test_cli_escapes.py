"""Nothing that a file, a model or a prompt says is obeyed by the terminal."""

from __future__ import annotations

import ast
import json
import os
import pty
import sys
from pathlib import Path

import numpy as np
import pytest
import stand_in
from command import Command, start
from safetensors.numpy import save_file

import sdgen as package
from sdgen.cli.terminal import streams
from sdgen.cli.terminal.progress import Display, JsonDisplay

ESCAPE = "\x1b]0;owned\x07\x1b[31m"
CLI = Path(package.__file__).parent / "cli"


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def harmless(text: str) -> bool:
    return all(char.isprintable() or char in "\n\r" for char in text)


def calls(file: Path) -> set[str]:
    """The functions that a module calls, as they are written there."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def test_one_module_writes_to_the_terminal() -> None:
    writing = {"print", "click.echo", "click.secho", "click.confirm", "click.prompt", "click.echo_via_pager"}
    writing |= {f"sys.{stream}.write" for stream in ("stdout", "stderr", "stdout.buffer", "stderr.buffer")}
    # The benchmark's first picture is drawn by a process of its own, which writes to a pipe.
    files = (file for file in CLI.glob("**/*.py") if file.parent.name != "benchmark")
    found = {file.name: calls(file) & writing for file in files}
    assert {name for name, called in found.items() if called} == {"streams.py"}


def evil_prompts() -> list[str]:
    Path("evil.jsonl").write_text(json.dumps({"prompt": "a fox", "model": f"mini{ESCAPE}"}) + "\n")
    return ["batch", "evil.jsonl"]


def evil_field() -> list[str]:
    Path("evil.jsonl").write_text(json.dumps({"prompt": "a fox", f"steps{ESCAPE}": 3}) + "\n")
    return ["batch", "evil.jsonl", "--model", "mini"]


def evil_lora_name() -> list[str]:
    Path("evil.txt").write_text(f"a fox <lora:{ESCAPE}:1>\n")
    return ["batch", "evil.txt", "--model", "mini"]


def evil_lora_key() -> list[str]:
    save_file({f"lora_unet_{ESCAPE}.alpha": np.zeros(1, np.float32)}, "evil.safetensors")
    return ["models", "convert", "mini", "there", "--lora", "evil.safetensors"]


def evil_model_index() -> list[str]:
    Path("evil").mkdir()
    Path("evil/model_index.json").write_text(json.dumps({"_class_name": ESCAPE}))
    return ["models", "convert", "evil", "there"]


def evil_dry_run() -> list[str]:
    Path("prompts.jsonl").write_text('{"prompt": "a fox", "seed": 7}\n')
    return ["batch", "prompts.jsonl", "--model", "mini", "--dry-run", "-o", f"there{ESCAPE}"]


def evil_file_name() -> list[str]:
    return ["batch", f"absent{ESCAPE}.txt"]


def evil_option() -> list[str]:
    return ["a fox", f"--{ESCAPE}"]


def evil_setting() -> list[str]:
    folder = Path(os.environ["SDGEN_CONFIG_DIR"])
    (folder / "config.toml").write_text(f"{json.dumps(ESCAPE)} = 3\n")
    return ["a fox"]


@pytest.mark.parametrize(
    "source",
    [
        evil_prompts,
        evil_field,
        evil_lora_name,
        evil_lora_key,
        evil_model_index,
        evil_dry_run,
        evil_file_name,
        evil_option,
        evil_setting,
    ],
)
def test_escapes_are_shown_as_text(sdgen: Command, source: object) -> None:
    assert callable(source)
    result = sdgen.run(*source())
    shown = result.stdout + result.stderr
    assert "\\x1b" in shown
    assert harmless(shown)


def test_a_plan_in_json_is_harmless(sdgen: Command) -> None:
    result = sdgen.run(*evil_dry_run(), "--json")
    assert harmless(result.stdout)
    assert ESCAPE in json.loads(result.stdout)["files"][0]


@pytest.mark.parametrize("display", [Display, JsonDisplay])
def test_messages_of_a_run_are_one_line_each(
    capsys: pytest.CaptureFixture[str], display: type[Display]
) -> None:
    shown = display()
    for say in (shown.say, shown.warn, shown.error):
        say(f"a\nerror: b {ESCAPE}")
    messages = capsys.readouterr().err
    assert messages.count("\n") == 3
    assert harmless(messages)


def test_a_sentence_that_quotes_much_is_cut_in_its_middle(sdgen: Command) -> None:
    Path("p.txt").write_text(f"a fox <lora:{'x' * 19_000}:1>")
    message = sdgen.run("batch", "p.txt", "--model", "mini").stderr.splitlines()[0]
    assert len(message) < 2100
    assert message.startswith("error: the prompt names the LoRA 'xxx") and message.endswith("put it there")


def test_a_log_of_several_lines_stays_one(capsys: pytest.CaptureFixture[str]) -> None:
    streams.tell(f"Traceback\n\tline {ESCAPE}", lines=True)
    assert capsys.readouterr().err == "Traceback\n\tline \\x1b]0;owned\\x07\\x1b[31m\n"


def test_a_program_gets_a_path_as_it_is_on_the_disk(sdgen: Command) -> None:
    process = sdgen.start("a fox", "--seed", "7", "--model", "mini", "-o", f"there{ESCAPE}/")
    path, _ = process.communicate(timeout=60)
    assert os.path.exists(path.rstrip(b"\n"))


def test_a_terminal_gets_a_path_escaped(sdgen: Command) -> None:
    ours, theirs = pty.openpty()
    process = sdgen.start("a fox", "--seed", "7", "--model", "mini", "-o", f"there{ESCAPE}/", stdout=theirs)
    os.close(theirs)
    process.communicate(timeout=60)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert shown == "there\\x1b]0;owned\\x07\\x1b[31m/0001-a-fox-7.png\r\n"


def test_what_the_locale_cannot_encode_is_escaped(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    sdgen.draw("a fox 狐狸", "-o", "fox.png")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONCOERCECLOCALE", "0")
    script = str(Path(stand_in.__file__))
    process = start([sys.executable, "-X", "utf8=0", script, "show", "fox.png"])
    shown, messages = process.communicate(timeout=60)
    assert (process.returncode, messages) == (0, b"")
    assert rb"a fox \u72d0\u72f8" in shown
    assert shown.isascii()
