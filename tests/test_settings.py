"""Where an option's value comes from: command line, environment, settings file, model."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Command

from sdgen.cli import settings
from sdgen.cli.options import DRAWING
from sdgen.errors import ExitCode, InputError


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def steps(sdgen: Command, *arguments: str) -> int:
    (record,) = sdgen.drawn("a fox", *arguments)
    return record["steps"]


def write(sdgen: Command, text: str | bytes) -> Path:
    file = sdgen.config / "config.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_the_stronger_source_wins(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps(sdgen) == 4
    write(sdgen, "steps = 5")
    assert steps(sdgen) == 5
    monkeypatch.setenv("SDGEN_STEPS", "6")
    assert steps(sdgen) == 6
    assert steps(sdgen, "--steps", "7") == 7


def test_an_empty_variable_counts_as_unset(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for option in DRAWING:
        monkeypatch.setenv(str(option.envvar), "")
    assert steps(sdgen) == 4


def test_every_option_has_a_variable_and_a_key() -> None:
    names = {settings.key_of(option): option.envvar for option in DRAWING}
    assert names["batch-size"] == "SDGEN_BATCH_SIZE"
    assert all(variable == f"SDGEN_{key.upper().replace('-', '_')}" for key, variable in names.items())


def test_on_off_options_can_be_undone(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    write(sdgen, "json = true\nno-metadata = true")
    result = sdgen.draw("a fox", "--no-json", "--metadata")
    assert result.stdout.startswith("outputs/")
    assert Path(result.stdout.strip()).with_suffix(".json").exists()
    monkeypatch.setenv("SDGEN_NO_METADATA", "0")
    assert '"sidecar": "outputs/' in sdgen.draw("a fox").stdout


def test_a_size_of_the_file_gives_way_to_a_width_of_the_command_line(sdgen: Command) -> None:
    write(sdgen, 'size = "128x64"')
    (record,) = sdgen.drawn("a fox")
    assert (record["width"], record["height"]) == (128, 64)
    (record,) = sdgen.drawn("a fox", "--width", "96")
    assert (record["width"], record["height"]) == (96, 64)


def test_a_home_folder_is_understood(sdgen: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(sdgen, 'output = "~/pictures/"')
    assert sdgen.draw("a fox").stdout.startswith(str(tmp_path / "pictures"))


def test_repeatable_options(sdgen: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a", "b"):
        (tmp_path / name).touch()
    write(sdgen, 'lora = ["~/a:0.5", "~/b"]\nembedding = "~/a"')
    assert sdgen.draw("a fox").exit_code == 0
    monkeypatch.setenv("SDGEN_LORA", f"{tmp_path}/b:2 {tmp_path}/a")
    assert sdgen.draw("a fox").exit_code == 0
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert [load["loras"] for load in sdgen.loads] == [((a, 0.5), (b, 1.0)), ((b, 2.0), (a, 1.0))]
    assert sdgen.loads[0]["embeddings"] == (a,)


def test_another_file_can_be_named(sdgen: Command, tmp_path: Path) -> None:
    write(sdgen, "steps = 5")
    (tmp_path / "other.toml").write_text("guidance = 3")
    (record,) = sdgen.drawn("a fox", "--config", str(tmp_path / "other.toml"))
    assert (record["steps"], record["guidance"]) == (4, 3.0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("stepps = 5", "unknown key 'stepps'; did you mean steps?"),
        ("batch_size = 5", "unknown key 'batch_size'; did you mean batch-size?"),
        ("colour = 5", "unknown key 'colour'; the keys are negative, size, width"),
        ("steps = 0", "steps: steps must be 1 to 1000, not 0"),
        ("steps = 2.5", "steps: '2.5' is not a whole number"),
        ("steps = true", "steps: True is not a single number or text"),
        ("steps = [1, 2]", "steps: [1, 2] is not a single number or text"),
        ("[steps]\na = 1", "steps: {'a': 1} is not a single number or text"),
        ('sampler = "eular"', "sampler: 'eular' is not one of 'ddim'"),
        ('size = "big"', "size: 'big' is not a width and a height such as 512x768"),
        ('size = "100x64"', "size: width must be a multiple of 8, not 100"),
        ("guidance = nan", "guidance: 'nan' is not a number"),
        ('json = "yes"', "json: 'yes' is not true or false"),
        ("count = 0", "count: '0' is not a whole number of 1 to"),
        ('model = ""', "model: it is empty"),
        ("steps = ", "is not valid TOML"),
        (b"steps = \xff", "is not valid TOML"),
        (f"steps = {'9' * 5000}", "is not valid TOML"),
        (f"steps = {'[' * 3000}", "is not valid TOML"),
    ],
)
def test_mistakes_in_the_file_name_file_key_and_what_is_allowed(
    sdgen: Command, text: str | bytes, complaint: str
) -> None:
    file = write(sdgen, text)
    result = sdgen.draw("a fox")
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.startswith(f"error: {file}")
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1


def test_mistakes_in_the_environment_name_the_variable(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_STEPS", "many")
    result = sdgen.draw("a fox")
    assert result.exit_code == ExitCode.USAGE
    assert "'many' is not a whole number (from SDGEN_STEPS)" in result.stderr


def test_help_is_shown_though_the_file_is_broken(sdgen: Command) -> None:
    write(sdgen, "nonsense")
    for arguments in (["--help"], ["draw", "--help"], ["a fox", "--help"]):
        assert sdgen.run(*arguments).exit_code == 0


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such settings file"):
        settings.read(tmp_path / "absent.toml", DRAWING)


def test_a_folder_in_place_of_the_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, where a file is needed"):
        settings.read(tmp_path, DRAWING)
