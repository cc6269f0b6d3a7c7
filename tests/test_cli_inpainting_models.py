"""Models that fill parts of pictures alone, on the command line: nothing is drawn, and no model is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Command
from PIL import Image

from sdgen.errors import ExitCode


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    command = Command(tmp_path, monkeypatch)
    Image.new("RGB", (16, 16), "blue").save(command.folder / "picture.png")
    Image.new("L", (16, 16), 255).save(command.folder / "mask.png")
    (command.folder / "p.txt").write_text("a cat\n")
    return command


EDIT = ("--init-image", "picture.png")
MASKED = (*EDIT, "--mask", "mask.png")


@pytest.mark.parametrize("options", [(), EDIT], ids=["text", "whole"])
@pytest.mark.parametrize(
    "command", [("draw", "a cat"), ("batch", "p.txt"), ("batch", "p.txt", "--dry-run")], ids=" ".join
)
def test_a_whole_picture_is_refused(
    sdgen: Command, command: tuple[str, ...], options: tuple[str, ...]
) -> None:
    result = sdgen.run(*command, "--model", "sd2-inpainting", *options)
    assert result.exit_code == ExitCode.USAGE
    assert "sd2-inpainting fills a part of a picture and cannot draw a whole one" in result.stderr


@pytest.mark.parametrize("command", [("draw", "a cat"), ("batch", "p.txt")], ids=" ".join)
def test_a_masked_picture_waits_for_the_model_alone(sdgen: Command, command: tuple[str, ...]) -> None:
    result = sdgen.run(*command, "--model", "sd2-inpainting", *MASKED)
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "sd2-inpainting is not on this machine" in result.stderr
