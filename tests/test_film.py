"""--animate: what a run has drawn, as one animation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from batch_command import run, statuses, summary
from command import Command
from PIL import Image

from sdgen.cli.film import StoredFrames
from sdgen.errors import ExitCode
from sdgen.images import animation, pictures


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def blues(path: str) -> Iterator[int]:
    """What the stand-in puts a picture's seed into."""
    picture = Image.open(path)
    for number in range(picture.n_frames):
        picture.seek(number)
        yield int(np.asarray(picture.convert("RGB"))[0, 0, 2])


def test_the_pictures_of_a_run_become_one_animation(sdgen: Command) -> None:
    result = sdgen.draw("a fox", "--seed", "7", "-n", "4", "--animate", "fox.apng", "--frame-rate", "5")
    assert result.exit_code == 0, result.stderr
    assert "animation: fox.apng" in result.stderr and len(result.stdout.splitlines()) == 4
    assert list(blues("fox.apng")) == [7, 8, 9, 10]
    assert Image.open("fox.apng").info["duration"] == 200
    assert pictures.is_record(Path("fox.apng"))


def test_the_way_between_two_prompts_becomes_one_animation(sdgen: Command) -> None:
    frames = ("--frames", "5", "--steps", "2", "--seed", "3", "-o", "frames/")
    result = sdgen.draw("--interpolate", "a cat", "a dog", *frames, "--animate", "between.apng", "--json")
    assert result.exit_code == 0, result.stderr
    prompts = [json.loads(line)["prompt"] for line in result.stdout.splitlines()]
    assert prompts == ["a cat"] * 5 and "animation: between.apng" in result.stderr
    assert len(list(Path("frames").glob("*.png"))) == 5 and pictures.is_record(Path("between.apng"))


@pytest.mark.parametrize("name", ["fox.gif", "fox.webp"])
def test_formats(sdgen: Command, name: str) -> None:
    assert sdgen.draw("a fox", "--seed", "0", "-n", "3", "--animate", name).exit_code == 0
    assert Image.open(name).n_frames >= 1 and pictures.is_record(Path(name))


def test_a_batch_that_goes_on_has_all_of_its_pictures_in_it(sdgen: Command) -> None:
    lines = "".join(f"--prompt fox --seed {seed}\n" for seed in (3, 1, 2))
    assert statuses(run(sdgen, "--shard", "1/3", "--json", text=lines)) == ["drawn"]
    for expected in ({"drawn", "kept"}, {"kept"}):
        result = run(sdgen, "--animate", "all.apng", "--json", text=lines)
        assert set(statuses(result)) == expected
        assert summary(result.stderr)["animation"] == "all.apng"
        assert list(blues("all.apng")) == [3, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--animate", "fox.mp4"), "--animate fox.mp4: end the name in .gif"),
        (("--animate", "fox.png"), "--animate fox.png: end the name in .gif, .webp or .apng, or use --grid"),
        (("--animate", "f.gif", "-n", "1001"), "--animate takes up to 1000 pictures, and these are 1001"),
        (("--animate", "f.gif", "-o", "-"), "-o - stores no image, and --animate shows stored ones"),
        (("--animate", "f.gif", "--record", "f.gif"), "--record and --animate name one file"),
        (("--animate", "f.webp", "-o", "f.webp"), "-o and --animate name one file"),
        (("--animate", "f.webp", "--grid", "f.webp"), "--grid and --animate name one file"),
        (("--animate", "f.gif", "--frame-rate", "0"), "0 is not in the range"),
    ],
)
def test_what_cannot_be_animated_is_said_first(
    sdgen: Command, arguments: tuple[str, ...], sentence: str
) -> None:
    result = sdgen.draw("a fox", *arguments)
    assert result.exit_code == ExitCode.USAGE
    assert sentence in " ".join(result.stderr.split())
    assert not sdgen.loads and not os.listdir()


def test_another_file_stays_and_an_earlier_animation_gives_way(sdgen: Command) -> None:
    Path("mine.gif").write_bytes(b"mine")
    assert sdgen.draw("a fox", "--animate", "mine.gif", "--overwrite").exit_code == ExitCode.NONE_DRAWN
    assert Path("mine.gif").read_bytes() == b"mine"
    for seed, more in ((1, ()), (5, ("--overwrite",))):
        arguments = ("--seed", str(seed), "-n", "2", "--animate", "fox.apng", *more)
        assert sdgen.draw("a fox", *arguments).exit_code == 0
        assert list(blues("fox.apng")) == [seed, seed + 1]
    assert sdgen.draw("a fox", "--animate", "fox.apng").exit_code == ExitCode.NONE_DRAWN


def test_frames_of_other_sizes_become_as_large_as_the_first(tmp_path: Path) -> None:
    paths = []
    for number, size in enumerate([(40, 30), (80, 60), (20, 20)]):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", size, (number, 0, 0)).save(paths[-1])
    frames = StoredFrames(paths)
    assert [frame.shape for frame in frames] == [(30, 40, 3)] * 3
    assert len(animation.encode(frames, "gif")) > 0


def test_a_picture_that_has_gone_is_said(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdgen.cli.film.Film.write", _gone)
    result = sdgen.draw("a fox", "--animate", "fox.gif")
    assert result.exit_code == ExitCode.SOME_FAILED
    assert "no animation: " in result.stderr and "is not there" in result.stderr


def _gone(film: object) -> None:
    pictures.open_picture(Path("gone.png"))
