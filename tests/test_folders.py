"""Folders of sdgen's that are not there, or may not be looked into, stop no command that can do without."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import Command

from sdgen import models
from sdgen.backend import program_cache
from sdgen.batch import batch_size
from sdgen.cli import checks
from sdgen.errors import ExitCode, InputError
from sdgen.files import folders, small_json

VARIABLES = (
    "SDGEN_CONFIG_DIR",
    "SDGEN_MODELS_DIR",
    "SDGEN_CACHE_DIR",
    "SDGEN_STATE_DIR",
    "HF_HOME",
    "KERAS_HOME",
)
HARMLESS = (
    ("models", "list"),
    ("models", "show", "sd2.1-base"),
    ("models", "show", "user/repo"),
    ("models", "verify"),
    ("models", "path", "mini"),
)


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("SDGEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(checks, "_LIST_DEVICES", 'print(\'{"cpu:0": "float32"}\')')
    return Command(tmp_path, monkeypatch)


@pytest.fixture(params=["a file", "a name that is too long", "a loop of links", "another's"])
def unusable(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A path below which nothing can be: the operating system says so in one way or another."""
    path = tmp_path / "unusable"
    if request.param == "a file":
        path.touch()
    elif request.param == "a name that is too long":
        path = tmp_path / ("x" * 300)
    elif request.param == "a loop of links":
        path.symlink_to(path)
    elif os.geteuid() == 0:
        pytest.skip("root may look into every folder")
    else:
        path.mkdir(mode=0)
    return path


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_folder_that_cannot_be_used_stops_no_command(
    variable: str, unusable: Path, sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(unusable))
    for arguments in HARMLESS:
        result = sdgen.run(*arguments)
        assert result.exit_code == ExitCode.OK, result.stderr
    assert sdgen.draw("a fox").exit_code == ExitCode.OK
    missing = sdgen.run("a fox", "--model", "sd2.1-base")
    assert missing.exit_code == ExitCode.UNAVAILABLE
    assert "sd2.1-base is not on this machine" in missing.stderr


def test_doctor_says_which_folder_cannot_be_used(
    unusable: Path, sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, str(unusable))
    found = json.loads(sdgen.run("doctor", "--json").stdout)
    problems = [problem["what"] for problem in found["problems"] if str(unusable) in problem["what"]]
    assert [problem.split()[1] for problem in problems] == ["models", "cache", "state"]
    assert found["usable"]


@pytest.mark.parametrize("home", ["/dev/null", "~nobody-of-this-name", "", "relative"])
def test_a_home_that_is_none_stops_no_command(
    home: str, sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (*VARIABLES, "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    for name in [*os.environ]:
        if name.startswith("XDG_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", home)
    for arguments in HARMLESS:
        result = sdgen.run(*arguments)
        assert result.exit_code == ExitCode.OK, result.stderr
    assert sdgen.run("doctor").exit_code == ExitCode.OK


def test_a_user_without_a_home_writes_none_called_tilde(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (*VARIABLES, *(name for name in os.environ if name.startswith("XDG_"))):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user that passwd does not know
    places = (folders.config(), folders.models(), folders.cache(), folders.state(), folders.expand("~"))
    assert {place.parts[:2] for place in places} == {("/", "nonexistent")}
    assert folders.expand("~other/x") == Path("~other/x")
    assert models.names()


@pytest.mark.parametrize("name", ["config.toml", "catalog.toml"])
@pytest.mark.usefixtures("bounded")
def test_a_settings_file_that_is_there_and_cannot_be_read_is_an_error(name: str, sdgen: Command) -> None:
    os.mkfifo(sdgen.config / name)
    result = sdgen.run("a fox", "--model", "mini")
    assert result.exit_code == ExitCode.USAGE
    assert f"{name} is a named pipe" in result.stderr


def test_a_settings_file_without_an_end_is_an_error(sdgen: Command) -> None:
    (sdgen.config / "catalog.toml").write_bytes(b"\n" * (folders.MOST_SETTINGS + 1))
    with pytest.raises(InputError, match="the most that is read is"):
        models.names()


def test_a_named_settings_file_has_to_be_there(sdgen: Command) -> None:
    result = sdgen.run("a fox", "--model", "mini", "--config", "none.toml")
    assert result.exit_code == ExitCode.USAGE
    assert "none.toml: there is no such settings file" in result.stderr


def test_programs_in_a_folder_that_cannot_be_read_take_no_space(
    unusable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_CACHE_DIR", str(unusable))
    assert program_cache.size() == program_cache.trim(0) == 0


@pytest.mark.parametrize("text", [b"[" * 200_000, b"[]", b"\xff", b"{", b"", b"7", b'{"a":' * 100_000])
def test_a_damaged_note_is_an_empty_one(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "note.json").write_bytes(text)
    assert small_json.read(tmp_path / "note.json") == {}


def test_a_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    small_json.write(tmp_path / "new" / "note.json", {"a": [1, "\u00e4"]})
    assert small_json.read(tmp_path / "new" / "note.json") == {"a": [1, "\u00e4"]}
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["note.json"]


@pytest.mark.parametrize(
    "known", [{"size": "x", "free": "y"}, {"size": None}, {"size": True}, [], {"size": 1e400}]
)
def test_a_damaged_note_of_batch_sizes_is_passed_over(
    known: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(batch_size, "_key", lambda pipeline, request: "key")
    (tmp_path / "batch-sizes.json").write_text(json.dumps({"key": known}))

    class Pipeline:
        device, low_memory = "gpu:0", False

        def batch_limit(self) -> int:
            return 4

    monkeypatch.setattr(batch_size.backend, "free_memory", lambda device: None)
    assert batch_size.choose(Pipeline(), None) == 4  # type: ignore[arg-type]


def _without_roots_rights() -> None:
    """Root may look into every folder; a program that it starts after this may not."""
    if os.geteuid() == 0:
        drop_from_bounding_set, override, search = (
            24,
            1,
            2,
        )  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, ..._READ_SEARCH
        prctl = ctypes.CDLL(None).prctl
        if prctl(drop_from_bounding_set, override) or prctl(drop_from_bounding_set, search):
            os._exit(125)


@pytest.mark.skipif(sys.platform != "linux", reason="takes Linux' capabilities from root")
@pytest.mark.parametrize("mode", [0o000, 0o500])
@pytest.mark.parametrize(
    "arguments", [("models", "list"), ("models", "verify"), ("a fox", "--model", "sd2.1")]
)
def test_a_home_of_anothers_stops_no_command(arguments: tuple[str, ...], mode: int, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=mode)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("SDGEN_", "XDG_", "HF_"))
    }
    source = str(Path(__file__).parent.parent / "src")
    run = subprocess.run(
        [sys.executable, "-m", "sdgen", *arguments],
        env={**kept, "HOME": str(home), "PYTHONPATH": source},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=_without_roots_rights,
    )
    if run.returncode == 125:
        pytest.skip("the rights of root cannot be given up here")
    if arguments[0] == "models":
        assert (run.returncode, run.stderr) == (ExitCode.OK, "")
    else:
        assert run.returncode == ExitCode.UNAVAILABLE
        assert "sd2.1 is not on this machine: get it with" in run.stderr
