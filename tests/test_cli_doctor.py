"""sdgen doctor says what is here and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import Command

from sdgen.cli import checks, variables
from sdgen.errors import ExitCode


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the backends nothing, which takes seconds."""
    monkeypatch.setattr(checks, "_LIST_DEVICES", 'print(\'{"cpu:0": "float32"}\')')


def report(sdgen: Command, expected: ExitCode = ExitCode.OK) -> dict[str, Any]:
    result = sdgen.run("doctor", "--json")
    assert result.exit_code == expected, result.stdout
    return json.loads(result.stdout)


def complaints(found: dict[str, Any]) -> str:
    return "\n".join(problem["what"] for problem in found["problems"])


@pytest.mark.slow
def test_a_sound_installation(sdgen: Command) -> None:
    found = report(sdgen)
    assert found["usable"]
    assert found["versions"]["sdgen"]
    assert "cpu:0" in found["backends"]["tensorflow"]["devices"]
    assert found["models"]["mini"] is not None
    assert found["models"]["sd2.1-base"] is None


def test_the_text_shows_what_the_object_holds(
    sdgen: Command, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_MODEL", "mini")
    row = '[deep]\ntask = "depth-to-image"\n[[deep.sources]]\nname = "hub"\nrepo = "user/deep"\n'
    (sdgen.config / "catalog.toml").write_text(row)
    shown = sdgen.run("doctor").stdout
    for heading in ("Versions", "Devices", "Machine", "Folders", "Settings in", "Environment", "Models"):
        assert f"{heading}" in shown
    assert "sdgen models pull sd2.1-base (the default)" in shown
    assert "sdgen models pull ldm-sr" in shown
    assert "of no use yet" in shown and "pull deep" not in shown
    assert shown.endswith("Nothing is wrong.\n")


def test_a_broken_backend_is_reported_and_not_fatal(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import sys, os\nif sys.argv[1] == 'jax': os.abort()\nprint('{\"cpu:0\": \"float32\"}')"
    monkeypatch.setattr(checks, "_LIST_DEVICES", script)
    monkeypatch.setattr(checks.metadata, "versions", lambda names: dict.fromkeys(names, "1"))
    found = report(sdgen)
    assert found["backends"]["jax"]["devices"] == {}
    assert "jax does not work: it ended with status -6" in complaints(found)


def test_a_backend_that_hangs_is_given_up(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_LIST_DEVICES", "import time; time.sleep(600)")
    monkeypatch.setattr(checks, "SECONDS_FOR_A_BACKEND", 0.5)
    assert "no answer within 0.5 s" in complaints(report(sdgen, ExitCode.NONE_DRAWN))


def test_no_backend_makes_it_unusable(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_LIST_DEVICES", "raise SystemExit('libcuda is broken')")
    found = report(sdgen, ExitCode.NONE_DRAWN)
    assert not found["usable"]
    assert "libcuda is broken" in complaints(found)
    assert "no backend works" in complaints(found)


def test_a_wrong_settings_file(sdgen: Command, quick: None) -> None:
    (sdgen.config / "config.toml").write_text("stepps = 3")
    assert "unknown key 'stepps'" in complaints(report(sdgen, ExitCode.NONE_DRAWN))


class TestDefaultModel:
    def test_that_it_is_missing_is_said_with_the_remedy(self, sdgen: Command, quick: None) -> None:
        shown = sdgen.run("doctor").stdout
        assert "sd2.1-base, which is drawn with where no model is named, cannot be used" in shown
        assert "get it with `sdgen models pull sd2.1-base`" in shown
        assert "--model mini, which needs no download" in shown
        assert "Nothing is wrong" not in shown

    def test_sdgen_is_usable_without_it(self, sdgen: Command, quick: None) -> None:
        assert report(sdgen)["usable"]

    def test_it_is_the_one_of_the_settings(self, sdgen: Command, quick: None) -> None:
        (sdgen.config / "config.toml").write_text('model = "mini"')
        assert not report(sdgen)["problems"]
        (sdgen.config / "config.toml").write_text('model = "sd-turbo"')
        assert "sd-turbo, which is drawn with" in complaints(report(sdgen))

    def test_one_that_nothing_draws_with_is_told(
        self, sdgen: Command, quick: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SDGEN_MODEL", "ldm-sr")
        (problem,) = report(sdgen)["problems"]
        assert "ldm-sr enlarges pictures and cannot draw one" in problem["remedy"]


def test_a_wrong_catalogue(sdgen: Command, quick: None) -> None:
    (sdgen.config / "catalog.toml").write_text("[x]\ncolour = 3")
    assert "unknown key 'colour'" in complaints(report(sdgen, ExitCode.NONE_DRAWN))


def test_settings_and_variables_in_force(
    sdgen: Command, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sdgen.config / "config.toml").write_text("steps = 3")
    monkeypatch.setenv("SDGEN_SEED", "7")
    monkeypatch.setenv("SDGEN_SHARD", "1/2")
    monkeypatch.setenv("SDGEN_MODEL", "mini")
    found = report(sdgen)
    assert not found["problems"]
    assert found["settings"]["values"] == {"steps": "3"}
    assert found["environment"]["SDGEN_SEED"] == "7"


def test_wrong_variables(sdgen: Command, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDGEN_STEPPS", "3")
    found = report(sdgen)
    assert found["problems"][0]["remedy"] == "did you mean SDGEN_STEPS?"
    monkeypatch.setenv("SDGEN_STEPS", "none")
    assert "SDGEN_STEPS: 'none' is not a whole number" in complaints(report(sdgen, ExitCode.NONE_DRAWN))


def test_a_variable_of_a_repeatable_option(
    sdgen: Command, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a").touch()
    monkeypatch.setenv("SDGEN_MODEL", "mini")
    monkeypatch.setenv("SDGEN_LORA", "a:0.5 a")
    assert not report(sdgen)["problems"]
    monkeypatch.setenv("SDGEN_LORA", "a:0.5 b")
    assert "SDGEN_LORA: there is no file b" in complaints(report(sdgen, ExitCode.NONE_DRAWN))


def test_an_output_folder_in_the_way(sdgen: Command, quick: None) -> None:
    Path("outputs").touch()
    assert "cannot be written" in complaints(report(sdgen, ExitCode.NONE_DRAWN))


def test_every_folder_variable_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables.OTHER:
        monkeypatch.setenv(name, "1")
    problems: list[checks.Problem] = []
    checks.environment(problems)
    assert not problems
