"""sdgen draw --open."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from command import Command

from sdgen.cli import viewer
from sdgen.errors import ExitCode

pytestmark = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="it has a viewer")


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


@pytest.fixture
def opened(sdgen: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A desktop with a viewer: the commands that open something."""
    found: list[list[str]] = []
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "xdg-open").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "xdg-open").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(viewer.subprocess, "Popen", lambda command, **_: found.append(command))
    return found


def test_the_picture_is_opened_when_it_is_done(
    sdgen: Command, opened: list[list[str]], tmp_path: Path
) -> None:
    result = sdgen.draw("a fox", "--open")
    assert opened == [[str(tmp_path / "bin" / "xdg-open"), os.path.abspath(result.stdout.strip())]]


def test_several_are_opened_in_their_order(sdgen: Command, opened: list[list[str]]) -> None:
    result = sdgen.draw("a fox", "an owl", "--open")
    assert [path for _, path in opened] == [os.path.abspath(line) for line in result.stdout.splitlines()]


def test_the_sheet_is_opened_instead_of_many(sdgen: Command, opened: list[list[str]]) -> None:
    assert sdgen.draw("a fox", "-n", "20", "--grid", "sheet.png", "--open").exit_code == 0
    assert [path for _, path in opened] == [os.path.abspath("sheet.png")]


def test_too_many_are_refused_before_anything_is_drawn(sdgen: Command, opened: list[list[str]]) -> None:
    result = sdgen.draw("a fox", "-n", "9", "--open")
    assert result.exit_code == ExitCode.USAGE
    assert "--open opens up to 8 pictures, and these are 9; add --grid FILE" in result.stderr
    assert not sdgen.loads


def test_nothing_is_opened_unasked_or_without_a_picture(sdgen: Command, opened: list[list[str]]) -> None:
    assert sdgen.draw("a fox").exit_code == 0
    assert sdgen.draw("broken", "--open").exit_code == ExitCode.NONE_DRAWN
    assert not opened


@pytest.mark.parametrize(
    ("display", "sentence"), [("", "there is no desktop here"), (":0", "there is no viewer here (xdg-open")]
)
def test_no_viewer_is_an_error_before_anything_is_drawn(
    sdgen: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, display: str, sentence: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    result = sdgen.draw("a fox", "--open")
    assert result.exit_code == ExitCode.USAGE
    assert sentence in result.stderr
    assert not sdgen.loads


def test_stdout_has_nothing_to_open(sdgen: Command, opened: list[list[str]]) -> None:
    result = sdgen.draw("a fox", "-o", "-", "--open")
    assert result.exit_code == ExitCode.USAGE
    assert "-o - stores no image, and --open opens stored ones" in result.stderr


def test_a_viewer_that_does_not_start_is_said_and_the_picture_is_there(
    sdgen: Command, opened: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: list[str], **_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(viewer.subprocess, "Popen", fail)
    result = sdgen.draw("a fox", "--open")
    assert result.exit_code == ExitCode.SOME_FAILED
    assert "is there and cannot be opened" in result.stderr
    assert Path(result.stdout.strip()).exists()


def test_the_environment_may_ask_for_it(
    sdgen: Command, opened: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_OPEN", "1")
    assert sdgen.draw("a fox").exit_code == 0
    assert len(opened) == 1
    assert sdgen.draw("a fox", "--no-open").exit_code == 0
    assert len(opened) == 1
