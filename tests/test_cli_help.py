"""Help, version and completion: complete, and quick because nothing heavy is imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import Command, start

import sdgen as package
from sdgen.cli.options import DRAWING
from sdgen.cli.root import COMMANDS
from sdgen.diffusion.sampler_names import SCHEDULES
from sdgen.errors import ExitCode

HEAVY = (
    *("tensorflow", "jax", "keras", "keras_cv", "numpy", "PIL", "h5py", "huggingface_hub", "tqdm"),
    *("starlette", "uvicorn", "prometheus_client", "asyncio"),
)

SHOW_IMPORTS = """
import runpy, sys
sys.argv[0] = "sdgen"
try:
    runpy.run_module("sdgen", run_name="__main__")
finally:
    sys.stderr.write("\\nmodules " + " ".join(sys.modules))
"""


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--help"], ExitCode.OK),
        (["draw", "--help"], ExitCode.OK),
        (["doctor", "--help"], ExitCode.OK),
        (["--version"], ExitCode.OK),
        (["completion", "zsh"], ExitCode.OK),
        ([], ExitCode.USAGE),
        (["a fox", "--steps", "0"], ExitCode.USAGE),
        (["a fox", "--size", "64x64", "--width", "64"], ExitCode.USAGE),
        (["a fox", "--name", "{sed}"], ExitCode.USAGE),
        (["a fox"], ExitCode.UNAVAILABLE),
        (["a fox", "--model", "mini", "-o", "taken.png"], ExitCode.NONE_DRAWN),
        (["a fox", "--model", "mini", "-o", "taken.png/"], ExitCode.NONE_DRAWN),
        (["a fox", "--model", "mini", "--grid", "taken.png"], ExitCode.NONE_DRAWN),
        (["batch", "--help"], ExitCode.OK),
        (["batch", "none.txt"], ExitCode.USAGE),
        (["batch", "wrong.txt", "--model", "mini"], ExitCode.USAGE),
        (["show", "--help"], ExitCode.OK),
        (["show", "none.png"], ExitCode.NONE_DRAWN),
        (["show", "none.json"], ExitCode.NONE_DRAWN),
        (["replay", "--help"], ExitCode.OK),
        (["replay", "none.png"], ExitCode.USAGE),
        (["replay", "none.json", "--steps", "0"], ExitCode.USAGE),
        (["grid", "--help"], ExitCode.OK),
        (["grid", "none", "-o", "sheet.png"], ExitCode.USAGE),
        (["grid", "here", "-o", "sheet.gif"], ExitCode.USAGE),
        (["compare", "--help"], ExitCode.OK),
        (["compare", "none.png"], ExitCode.USAGE),
        (["compare", "none.png", "--methods", "bicubic", "--steps", "0"], ExitCode.USAGE),
        (["gallery", "--help"], ExitCode.OK),
        (["gallery", "none"], ExitCode.USAGE),
        (["serve", "--help"], ExitCode.OK),
        (["serve", "--host", "0.0.0.0"], ExitCode.USAGE),
        (["serve", "--model", "none"], ExitCode.UNAVAILABLE),
        (["models", "--help"], ExitCode.OK),
        (["models", "list"], ExitCode.OK),
        (["models", "convert", "--help"], ExitCode.OK),
        (["models", "convert", "sd2.1-base", "there"], ExitCode.UNAVAILABLE),
        (["models", "convert", "mini"], ExitCode.USAGE),
        (["samplers"], ExitCode.OK),
        (["bench", "--help"], ExitCode.OK),
    ],
)
def test_answers_without_importing_anything_heavy(
    sdgen: Command, arguments: list[str], expected: ExitCode
) -> None:
    Path("taken.png").touch()
    Path("wrong.txt").write_text("--steps 0 --prompt x\n")
    process = start([sys.executable, "-c", SHOW_IMPORTS, *arguments])
    _, messages = process.communicate(timeout=60)
    assert process.returncode == expected
    modules = messages.decode().rpartition("\nmodules ")[2].split()
    assert not set(HEAVY) & set(modules)


def test_help_names_every_option_command_and_status(sdgen: Command) -> None:
    shown = sdgen.run("--help").stdout
    for option in DRAWING:
        assert all(name in shown for name in option.opts), option.name
    unbroken = "".join(shown.split())  # Lines end at hyphens, too.
    for name in [*COMMANDS, *SCHEDULES]:
        assert name in unbroken
    for code in ExitCode:
        assert f"{int(code)} " in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "  -h, --help" in shown


@pytest.mark.parametrize(
    "section",
    ["Picture:", "Seeds:", "Sampling:", "Model:", "Computing:", "Output:", "Examples:", "Exit status:"],
)
def test_help_has_sections(sdgen: Command, section: str) -> None:
    for arguments in (["--help"], ["-h"], ["draw", "--help"]):
        assert f"\n{section}\n" in sdgen.run(*arguments).stdout


def test_help_of_batch_tells_what_a_batch_does(sdgen: Command) -> None:
    shown = " ".join(sdgen.run("batch", "--help").stdout.split())
    assert "The folder of the images" in shown and "or - for stdout" not in shown
    assert "Default: {slug}-{seed}-{digest}." in shown and "{date}" not in shown
    assert "a random one, the same when the batch goes on. Default: 0." in shown


def test_help_of_replay_names_no_default_that_it_does_not_have(sdgen: Command) -> None:
    shown = sdgen.run("replay", "--help").stdout
    recorded = shown[: shown.index("Output:")]
    assert "Default" not in recorded.replace("Default: 4GB", "").replace("Default:\n", "")
    assert "--guidance SCALE" in recorded


def test_alone_it_shows_help(sdgen: Command) -> None:
    result = sdgen.run()
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert "Usage: sdgen [OPTIONS] PROMPT..." in result.stderr


def test_version(sdgen: Command) -> None:
    assert sdgen.run("--version").stdout == f"sdgen {package.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(sdgen: Command, shell: str) -> None:
    shown = sdgen.run("completion", shell).stdout
    assert f"_SDGEN_COMPLETE={shell}_complete" in shown
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=shown.encode(), timeout=60).returncode == 0


def test_completion_of_an_unknown_shell(sdgen: Command) -> None:
    result = sdgen.run("completion", "tcsh")
    assert result.exit_code == ExitCode.USAGE
    assert "'bash', 'zsh', 'fish'" in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sdgen doc", {"doctor"}),
        ("sdgen --sch", {"--schedule"}),
        ("sdgen --sampler dpmpp-2m", {"dpmpp-2m", "dpmpp-2m-sde"}),
        ("sdgen 'a fox' --schedule k", {"karras"}),
        ("sdgen draw fox --model mi", {"mini"}),
        ("sdgen --model sd-t", {"sd-turbo"}),
        ("sdgen completion z", {"zsh"}),
        ("sdgen --backend ", {"auto", "tensorflow", "jax"}),
    ],
)
def test_completion_of_values(sdgen: Command, words: str, expected: set[str]) -> None:
    asked = {"_SDGEN_COMPLETE": "bash_complete", "COMP_WORDS": words}
    asked["COMP_CWORD"] = str(len(words.replace("'a fox'", "x").split(" ")) - 1)
    source = str(Path(package.__file__).parent.parent)
    answer = subprocess.run(
        [sys.executable, "-m", "sdgen"],
        env={**os.environ, **asked, "PYTHONPATH": source},
        stdout=subprocess.PIPE,
        timeout=60,
    ).stdout
    assert {line.split(",", 1)[1] for line in answer.decode().splitlines()} == expected


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
def test_bash_completes(sdgen: Command, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "sdgen"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom sdgen.__main__ import main\nmain()\n")
    program.chmod(0o755)
    script = """
eval "$(sdgen completion bash)"
COMP_WORDS=(sdgen --sampler eul) COMP_CWORD=2
_sdgen_completion sdgen eul --sampler
printf '%s\\n' "${COMPREPLY[@]}"
"""
    source = str(Path(package.__file__).parent.parent)
    path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    answer = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": path, "PYTHONPATH": source},
        stdout=subprocess.PIPE,
        timeout=60,
    ).stdout
    assert answer.decode().split() == ["euler", "euler-a"]
