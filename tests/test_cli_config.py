"""sdgen config: the settings file shown and changed."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from command import Command

from sdgen.cli import settings, variables
from sdgen.cli.options import DRAWING
from sdgen.errors import ExitCode

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def config(sdgen: Command, *arguments: str) -> str:
    result = sdgen.run("config", *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def file(sdgen: Command) -> Path:
    return sdgen.config / "config.toml"


def table(sdgen: Command) -> dict[str, object]:
    return tomllib.loads(file(sdgen).read_text(encoding="utf-8"))


def test_path(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config(sdgen, "path") == f"{file(sdgen)}\n"
    monkeypatch.setenv("SDGEN_CONFIG", "other.toml")
    assert config(sdgen, "path") == "other.toml\n"
    assert config(sdgen, "path", "--config", "third.toml") == "third.toml\n"


def test_what_is_set_is_what_drawing_uses(sdgen: Command) -> None:
    assert config(sdgen, "set", "steps", "9") == f"{file(sdgen)}\n"
    config(sdgen, "set", "negative", "-blurry # 5")
    config(sdgen, "set", "size", "96x32")
    (record,) = sdgen.drawn("a fox")
    assert (record["steps"], record["negative_prompt"], record["width"]) == (9, "-blurry # 5", 96)
    config(sdgen, "unset", "size")
    assert table(sdgen) == {"steps": 9, "negative": "-blurry # 5"}


def test_the_folder_is_made(sdgen: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SDGEN_CONFIG_DIR", str(tmp_path / "new" / "folder"))
    config(sdgen, "set", "steps", "9")
    assert (tmp_path / "new/folder/config.toml").read_text() == "steps = 9\n"


@pytest.mark.parametrize(
    ("key", "words", "expected"),
    [
        ("steps", ["007"], "007"),
        ("guidance", ["7.5"], 7.5),
        ("guidance", ["7"], 7),
        ("seed", ["9223372036854775807"], 2**63 - 1),
        ("json", ["yes"], True),
        ("no-metadata", ["false"], False),
        ("model", ["mini"], "mini"),
        ("name", ["2027"], "2027"),
        ("negative", ['a "b" \\ \n\t\x7f\x1b 狐狸'], 'a "b" \\ \n\t\x7f\x1b 狐狸'),
        ("output", ["~/pictures/"], "~/pictures/"),
    ],
)
def test_values_have_their_types(sdgen: Command, key: str, words: list[str], expected: object) -> None:
    config(sdgen, "set", key, *words)
    assert table(sdgen) == {key: expected}
    settings.read(None, DRAWING)


def test_files_are_found_from_every_folder(sdgen: Command, tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        Path(name).touch()
    Path("mini").mkdir()
    config(sdgen, "set", "lora", "a.safetensors:0.5", "b.safetensors")
    config(sdgen, "set", "vae", "a.safetensors")
    config(sdgen, "set", "model", "./mini")
    here = os.getcwd()
    assert table(sdgen) == {
        "lora": [f"{here}/a.safetensors:0.5", f"{here}/b.safetensors"],
        "vae": f"{here}/a.safetensors",
        "model": f"{here}/mini",
    }


WRITTEN = """\
# What I like.
"steps" = 30   # the # of steps
lora = [  # two
  # "c",
]
negative = '''
blurry
]'''
sampler = "ddim"
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_comments_and_other_lines_stay(sdgen: Command, end: str) -> None:
    file(sdgen).write_bytes(WRITTEN.replace("\n", end).encode())
    config(sdgen, "set", "steps", "20")
    config(sdgen, "set", "sampler", "euler")
    expected = WRITTEN.replace('"steps" = 30', "steps = 20").replace("ddim", "euler").replace("\n", end)
    assert file(sdgen).read_bytes() == expected.encode()
    config(sdgen, "unset", "lora")
    config(sdgen, "set", "negative", "grey")
    assert table(sdgen) == {"steps": 20, "negative": "grey", "sampler": "euler"}
    assert b"# What I like." in file(sdgen).read_bytes()


def test_a_last_line_without_an_end_is_kept_apart(sdgen: Command) -> None:
    file(sdgen).write_text("steps = 3")
    config(sdgen, "set", "json", "true")
    assert file(sdgen).read_text() == "steps = 3\njson = true\n"


def test_a_link_stays_a_link(sdgen: Command, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("steps = 3\n")
    file(sdgen).symlink_to(real)
    config(sdgen, "set", "steps", "4")
    assert file(sdgen).is_symlink()
    assert real.read_text() == "steps = 4\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["set", "steps", "x"], "steps: 'x' is not a whole number"),
        (["set", "steps", "1", "2"], "steps: it takes one value"),
        (["set", "steps", ""], "steps: it is empty"),
        (["set", "json", "perhaps"], "json: 'perhaps' is not a valid boolean"),
        (["set", "cfg", "7"], "unknown key 'cfg'; did you mean guidance?"),
        (["set", "vae", "absent"], "absent' does not exist"),
        (["unset", "colour"], "unknown key 'colour'; the keys are negative"),
    ],
)
def test_what_cannot_be_set_leaves_the_file_alone(
    sdgen: Command, arguments: list[str], complaint: str
) -> None:
    file(sdgen).write_text("steps = 3\n")
    result = sdgen.run("config", *arguments)
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert complaint in result.stderr
    assert file(sdgen).read_text() == "steps = 3\n"


def test_a_file_that_is_no_toml_is_left_alone(sdgen: Command) -> None:
    file(sdgen).write_text("steps = \n")
    result = sdgen.run("config", "set", "steps", "4")
    assert (result.exit_code, file(sdgen).read_text()) == (ExitCode.USAGE, "steps = \n")
    assert "is not valid TOML" in result.stderr


def test_show_says_where_each_value_comes_from(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config(sdgen, "show").startswith("nothing is set; ")
    file(sdgen).write_text("steps = 3\nsampler = 'ddim'\n")
    monkeypatch.setenv("SDGEN_STEPS", "5")
    monkeypatch.setenv("SDGEN_QUIET", "on")
    lines = config(sdgen, "show").splitlines()
    assert [line.rsplit("  ", 1)[-1] for line in lines] == ["SDGEN_STEPS", str(file(sdgen)), "SDGEN_QUIET"]
    shown = json.loads(config(sdgen, "show", "--json"))
    assert shown["settings"] == {
        "steps": {"value": 5, "from": "SDGEN_STEPS"},
        "sampler": {"value": "ddim", "from": str(file(sdgen))},
        "quiet": {"value": True, "from": "SDGEN_QUIET"},
    }


def test_show_names_a_wrong_variable(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDGEN_STEPS", "many")
    result = sdgen.run("config", "show")
    assert (result.exit_code, result.stderr) == (2, "error: SDGEN_STEPS: 'many' is not a whole number\n")


@pytest.mark.parametrize("command", ["draw", "batch", "replay", "config"])
def test_a_misspelt_variable_is_told(sdgen: Command, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    Path("p.txt").write_text("a fox\n")
    sdgen.draw("a fox", "-o", "fox.png")
    monkeypatch.setenv("SDGEN_CFG", "7")
    monkeypatch.setenv("SDGEN_STEPPS", "7")
    arguments = {"draw": ["a fox", "-m", "mini"], "batch": ["p.txt", "-m", "mini"], "replay": ["fox.png"]}
    result = sdgen.run(command, *arguments.get(command, ["show"]))
    assert "warning: SDGEN_CFG is no variable of sdgen; did you mean SDGEN_GUIDANCE?\n" in result.stderr
    assert "warning: SDGEN_STEPPS is no variable of sdgen; did you mean SDGEN_STEPS?\n" in result.stderr


def test_known_variables_are_not_warned_of(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDGEN_SHARD", "1/1")
    monkeypatch.setenv("SDGEN_CACHE_LIMIT", "4GB")
    monkeypatch.setenv("SDGEN_FUNNY", "")
    assert "warning" not in sdgen.draw("a fox").stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_as_the_settings_file_is_refused_at_once(sdgen: Command) -> None:
    os.mkfifo("pipe")
    for arguments in (["config", "show", "--config", "pipe"], ["a fox", "--config", "pipe"]):
        process = sdgen.start(*arguments)
        _, messages = process.communicate(timeout=30)
        assert (process.returncode, messages.count(b"pipe is a named pipe")) == (ExitCode.USAGE, 1)


def test_every_variable_that_the_code_reads_is_known() -> None:
    source = Path(settings.__file__).parent.parent
    text = "\n".join(file.read_text(encoding="utf-8") for file in source.glob("**/*.py"))
    named = set(re.findall(r"\bSDGEN_[A-Z_]*[A-Z]\b", text))
    assert named - {*variables.OTHER, *variables._options()} == set()
