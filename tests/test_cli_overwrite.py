"""sdgen --overwrite: one file for Makefiles and scripts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import stand_in
from command import Command
from limits import within
from PIL import Image

from sdgen.errors import ExitCode

FOX = ("a fox", "-o", "fox.png", "--overwrite")


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def files() -> dict[str, bytes]:
    return {name: Path(name).read_bytes() for name in os.listdir()}


def seed() -> int:
    """Of the picture in fox.png and of its sidecar, which agree."""
    record = json.loads(Path("fox.json").read_text())
    with Image.open("fox.png") as picture:
        assert picture.getpixel((0, 0)) == (0, 0, record["seed"])
    return int(record["seed"])


def test_an_image_and_its_sidecar_give_way(sdgen: Command) -> None:
    for number in (1, 2, 3):
        result = sdgen.draw(*FOX, "--seed", str(number))
        assert (result.exit_code, result.stdout) == (ExitCode.OK, "fox.png\n")
        assert seed() == number
    assert sorted(os.listdir()) == ["fox.json", "fox.png"]


def test_without_it_the_file_is_refused(sdgen: Command) -> None:
    sdgen.draw(*FOX)
    before = files()
    assert sdgen.draw("a fox", "-o", "fox.png").exit_code == ExitCode.NONE_DRAWN
    assert files() == before


def test_any_image_gives_way(sdgen: Command) -> None:
    Path("fox.png").write_text("not even an image")
    assert sdgen.draw(*FOX, "--seed", "5").exit_code == ExitCode.OK
    assert seed() == 5


@pytest.mark.parametrize("prompt", ["broken", "crash"])
def test_where_nothing_is_drawn_the_old_file_stays(sdgen: Command, prompt: str) -> None:
    sdgen.draw(*FOX)
    before = files()
    assert sdgen.draw(prompt, *FOX[1:]).exit_code == ExitCode.NONE_DRAWN
    assert files() == before


def test_the_old_file_is_there_while_the_new_one_is_drawn(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdgen.draw(*FOX, "--seed", "1")
    before, seen = files(), []
    draw = stand_in.draw
    monkeypatch.setattr(stand_in, "draw", lambda request: seen.append(files()) or draw(request))
    sdgen.draw(*FOX, "--seed", "2")
    assert seen == [before]


def test_a_file_that_is_no_sidecar_of_the_image_is_refused(sdgen: Command) -> None:
    Path("fox.json").write_text('{"data": "mine"}')
    result = sdgen.draw(*FOX)
    assert (result.exit_code, files()) == (ExitCode.NONE_DRAWN, {"fox.json": b'{"data": "mine"}'})
    assert "fox.json is not the sidecar of fox.png, and is not overwritten" in result.stderr
    assert not sdgen.loads
    assert sdgen.draw(*FOX, "--no-metadata").exit_code == ExitCode.OK
    assert Path("fox.json").read_text() == '{"data": "mine"}'


def test_without_metadata_no_sidecar_of_the_old_image_is_left(sdgen: Command) -> None:
    sdgen.draw(*FOX)
    assert sdgen.draw(*FOX, "--no-metadata").exit_code == ExitCode.OK
    assert os.listdir() == ["fox.png"]


@pytest.mark.parametrize("kind", ["pipe", "link to nothing", "folder of a sidecar"])
def test_what_is_no_file_is_refused(sdgen: Command, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo("fox.png")
    elif kind == "link to nothing":
        Path("fox.png").symlink_to("nowhere")
    else:
        Path("fox.json").mkdir()
    result = within(10, lambda: sdgen.draw(*FOX))
    assert result.exit_code == ExitCode.NONE_DRAWN
    assert "is no file, and is not overwritten" in result.stderr
    assert not sdgen.loads


@pytest.mark.parametrize("where", [(), ("-o", "out/"), ("-o", "-")])
def test_where_nothing_is_in_the_way_it_is_refused(sdgen: Command, where: tuple[str, ...]) -> None:
    result = sdgen.draw("a fox", *where, "--overwrite")
    assert result.exit_code == ExitCode.USAGE
    assert "--overwrite is for the file that -o names" in result.stderr


def test_the_variable_is_for_those_that_name_a_file(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDGEN_OVERWRITE", "1")
    sdgen.draw(*FOX[:3], "--seed", "1")
    assert sdgen.draw(*FOX[:3], "--seed", "2").exit_code == ExitCode.OK
    assert seed() == 2
    assert sdgen.draw("a fox").exit_code == ExitCode.OK


def test_an_earlier_sheet_gives_way_and_no_other_file(sdgen: Command) -> None:
    Path("mine.png").write_text("mine")
    sheet = ("a fox", "-n", "2", "--grid", "sheet.png", "--overwrite")
    assert [sdgen.draw(*sheet).exit_code for _ in range(2)] == [ExitCode.OK] * 2
    other = sdgen.draw("a fox", "--grid", "mine.png", "--overwrite")
    assert other.exit_code == ExitCode.NONE_DRAWN
    assert Path("mine.png").read_text() == "mine"
