"""Pictures to start from on the command line: one, that of stdin, a folder, a pattern, and their captions."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import hostile_pictures
import numpy as np
import pytest
from batch_command import images, statuses
from command import Command
from limits import within
from PIL import Image

from sdgen.errors import ExitCode, InputError
from sdgen.prompts import pictures
from sdgen.request.pictures import read_picture


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def picture(path: str, colour: str, caption: str | None = None) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    Image.new("RGB", (64, 64), colour).save(path)
    if caption is not None:
        Path(path).with_suffix(".txt").write_text(caption, encoding="utf-8")


@pytest.fixture
def folder(sdgen: Command) -> str:
    """Two pictures with captions, one without, and what is none."""
    picture("in/b.png", "red", "a red fox\n")
    picture("in/a.jpg", "blue", "\ufeffa blue fish")
    picture("in/c.webp", "green")
    picture("in/.hidden.png", "white", "no")
    picture("in/below/d.png", "white", "no")
    Path("in/notes.md").write_text("no picture")
    return "in"


def asked(records: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """File, prompt and name of what was drawn."""
    return [(record["init_image"]["file"], record["prompt"], record["image"]) for record in records]


def test_a_folder_edits_each_picture_with_its_caption_or_the_prompt(sdgen: Command, folder: str) -> None:
    assert asked(sdgen.drawn("a painting", "--init-image", folder)) == [
        ("in/a.jpg", "a blue fish", "a.png"),
        ("in/b.png", "a red fox", "b.png"),
        ("in/c.webp", "a painting", "c.png"),
    ]


def test_several_prompts_and_counts_are_for_each_picture(sdgen: Command) -> None:
    picture("in/a.png", "red")
    picture("in/b.png", "blue")
    records = sdgen.drawn("x", "y", "--init-image", "in", "-n", "2", "--seed", "5")
    assert [prompt for _, prompt, _ in asked(records)] == ["x", "x", "y", "y"] * 2
    assert [name for _, _, name in asked(records)][:3] == ["a.png", "a-2.png", "a-3.png"]
    assert [record["seed"] for record in records] == [5, 6] * 4


def test_a_pattern_names_pictures(sdgen: Command, folder: str) -> None:
    assert [file for file, _, _ in asked(sdgen.drawn("--init-image", "in/[ab].*g"))] == [
        "in/a.jpg",
        "in/b.png",
    ]
    assert len(sdgen.drawn("x", "--init-image", "in/**/*.png", "-o", "all/")) == 2


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(sdgen: Command) -> None:
    picture("in/[a].png", "red")
    picture("in/a.png", "blue")
    assert asked(sdgen.drawn("x", "--init-image", "in/[a].png"))[0][0] == "in/[a].png"


def test_one_picture_has_its_caption_where_no_prompt_is_given(sdgen: Command, folder: str) -> None:
    assert asked(sdgen.drawn("--init-image", "in/b.png"))[0][1] == "a red fox"
    assert asked(sdgen.drawn("a wolf", "--init-image", "in/b.png"))[0][1] == "a wolf"


def test_pictures_without_a_prompt_are_named_a_few_of_them(sdgen: Command) -> None:
    for number in range(8):
        picture(f"in/{number}.png", "red", "a fox" if number == 0 else None)
    result = sdgen.draw("--init-image", "in")
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr == (
        "error: there is no prompt for 7 pictures of 8: in/1.png, in/2.png, in/3.png, in/4.png, in/5.png and "
        "2 more; give one, or write it into a .txt file of the picture's name\n"
    )
    assert not sdgen.loads


@pytest.mark.parametrize(
    ("caption", "sentence"),
    [
        (b"", "the caption in/a.txt is empty"),
        (b"\xff\xfea\0", "the caption in/a.txt is not UTF-8 text"),
        (b"x" * 100_000, "in/a.txt has 100000 bytes; the most that is read is 80008"),
        (b"a fox --ar 16:9", "the prompt goes on with --ar"),
    ],
)
def test_a_caption_that_is_no_prompt_is_refused(sdgen: Command, caption: bytes, sentence: str) -> None:
    picture("in/a.png", "red")
    Path("in/a.txt").write_bytes(caption)
    result = sdgen.draw("--init-image", "in")
    assert result.exit_code == ExitCode.USAGE
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("nothing", "nothing is not there"),
        ("in/*.bmp", "no picture matches in/*.bmp"),
        ("empty", "there is no picture in empty"),
    ],
)
def test_where_no_picture_is_it_is_said(sdgen: Command, folder: str, source: str, sentence: str) -> None:
    Path("empty").mkdir()
    result = sdgen.draw("x", "--init-image", source)
    assert result.exit_code == ExitCode.USAGE
    assert sentence in result.stderr
    assert not sdgen.loads


def test_one_damaged_picture_of_a_folder_is_said_before_anything_is_drawn(
    sdgen: Command, folder: str
) -> None:
    Path("in/b.png").write_bytes(b"no")
    Path("in/c.webp").write_bytes(b"no")
    result = sdgen.draw("x", "--init-image", folder)
    assert result.exit_code == ExitCode.USAGE
    assert "in/b.png is not a PNG" in result.stderr
    assert "1 more of 3 cannot be read" in result.stderr
    assert not sdgen.loads


def test_a_picture_comes_from_stdin(sdgen: Command) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(stream, "PNG")
    result = sdgen.draw("a fox", "--init-image", "-", input=stream.getvalue())
    assert result.exit_code == 0, result.stderr
    request = json.loads(next(Path("outputs").glob("*.json")).read_text())
    assert request["init_image"]["file"] is None
    assert request["init_image"]["sha256"] == read_picture(stream.getvalue(), "x").sha256


def test_stdin_is_not_read_twice(sdgen: Command) -> None:
    picture("a.png", "red")
    result = sdgen.draw("-", "--init-image", "-", input=Path("a.png").read_bytes())
    assert result.exit_code == ExitCode.USAGE
    assert "both read from stdin" in result.stderr


def test_too_much_on_stdin_is_refused(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdgen.files import picture_files

    monkeypatch.setattr(picture_files, "MOST_BYTES", 50)
    result = sdgen.draw("a", "--init-image", "-", input=bytes(100))
    assert "the picture has 100 bytes; the most that is read is 50" in result.stderr


def test_one_place_does_not_hold_several(sdgen: Command, folder: str) -> None:
    result = sdgen.draw("x", "--init-image", folder, "-o", "x.png")
    assert result.exit_code == ExitCode.USAGE
    assert "several to start from" in result.stderr


def test_neither_prompt_nor_picture_is_an_error(sdgen: Command) -> None:
    for arguments in (("draw",), ("draw", "--steps", "3"), ("batch",), ("batch", "--steps", "3")):
        result = sdgen.run(*arguments)
        assert result.exit_code == ExitCode.USAGE
        assert "Missing argument" in result.stderr or "missing" in result.stderr.lower()


def test_replay_starts_from_one(sdgen: Command, folder: str) -> None:
    sdgen.drawn("a fox", "-o", "fox.png")
    result = sdgen.run("replay", "fox.png", "--init-image", folder)
    assert result.exit_code == ExitCode.USAGE
    assert "several pictures" in result.stderr


# Batches


def batch(sdgen: Command, *arguments: str) -> Any:
    return sdgen.run("batch", *arguments, "--model", "mini")


def test_a_batch_of_captions_goes_on_where_it_was_stopped(sdgen: Command) -> None:
    picture("in/a.png", "red", "a fox")
    picture("in/b.png", "blue", "a fish")
    result = batch(sdgen, "--init-image", "in", "--json")
    assert statuses(result) == ["drawn", "drawn"], result.stderr
    assert [name[:2] for name in images()] == ["a-", "b-"]
    Path("outputs", images()[0]).unlink()
    assert sorted(statuses(batch(sdgen, "--init-image", "in", "--json"))) == ["drawn", "kept"]


def test_a_batch_goes_on_where_its_pictures_were_moved(sdgen: Command) -> None:
    picture("in/a.png", "red", "a fox")
    batch(sdgen, "--init-image", "in")
    Path("in").rename("elsewhere")
    assert statuses(batch(sdgen, "--init-image", "elsewhere", "--json")) == ["kept"]


def test_every_entry_of_a_file_is_drawn_from_every_picture(sdgen: Command) -> None:
    picture("in/a.png", "red", "not used")
    picture("in/b.png", "blue")
    picture("own.png", "green")
    Path("p.jsonl").write_text(
        '{"prompt": "x"}\n{"prompt": "y", "image": "own.png"}\n{"prompt": "z", "image": "in/a.png"}\n'
    )
    result = batch(sdgen, "p.jsonl", "--init-image", "in", "--strength", "0.5", "--json")
    assert statuses(result) == ["drawn"] * 4, result.stderr
    records = [json.loads(path.read_text()) for path in Path("outputs").glob("*.json")]
    assert sorted(asked(records))[0][:2] == ("in/a.png", "x")
    assert sorted(each[:2] for each in asked(records)) == [
        *[("in/a.png", "x"), ("in/a.png", "z"), ("in/b.png", "x"), ("own.png", "y")]
    ]


def test_pictures_without_captions_are_wrong_entries_of_a_batch(sdgen: Command, folder: str) -> None:
    result = batch(sdgen, "--init-image", folder)
    assert result.exit_code == ExitCode.USAGE
    assert "in/c.webp:1: there is no prompt for it; write in/c.txt" in result.stderr
    assert statuses(batch(sdgen, "--init-image", folder, "--skip-invalid", "--json"))[1:] == [
        "drawn",
        "drawn",
    ]


def test_a_dry_run_says_what_each_picture_becomes(sdgen: Command) -> None:
    picture("in/a.png", "red", "a fox")
    result = batch(sdgen, "--init-image", "in", "--dry-run", "--json")
    plan = json.loads(result.stdout)
    assert plan["images"] == 1
    assert Path(plan["files"][0]).name.startswith("a-")
    assert not sdgen.loads


def test_random_seeds_of_captions_are_the_same_again(sdgen: Command) -> None:
    picture("in/a.png", "red", "a fox")
    assert statuses(batch(sdgen, "--init-image", "in", "--seed", "-1", "--json")) == ["drawn"]
    assert statuses(batch(sdgen, "--init-image", "in", "--seed", "-1", "--json")) == ["kept"]


# What is hostile

SAMPLE = [
    name
    for name in hostile_pictures.makers()
    if name.startswith(("pipe", "socket", "device", "svg", "empty", "size-2", "page", "pointer"))
    or name in ("chunks.png", "endless-animation.png", "frames.gif", "truncated-0.5.jpg", "bomb-lzw.tiff")
]


@pytest.mark.parametrize("name", SAMPLE)
def test_a_hostile_picture_is_refused_before_a_model_is_loaded(sdgen: Command, name: str) -> None:
    hostile_pictures.makers()[name](Path(name))
    result = within(60, lambda: sdgen.draw("a fox", "--init-image", name))
    assert result.exit_code == ExitCode.USAGE, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert not sdgen.loads


def test_more_pictures_than_are_read_are_refused(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_PICTURES", 2)
    for number in range(3):
        picture(f"in/{number}.png", "red")
    for source in ("in", "in/*.png"):
        with pytest.raises(InputError, match="more than 2 pictures"):
            pictures.find(source)


@pytest.mark.slow
def test_the_bundled_model_edits_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sdgen = Command(tmp_path, monkeypatch, real=True)
    picture("in/fish.png", "red", "a blue fish")
    picture("in/star.png", "blue", "a red star")
    records = sdgen.drawn("--init-image", "in", "--steps", "4", "--strength", "0.5")
    assert asked(records) == [
        ("in/fish.png", "a blue fish", "fish.png"),
        ("in/star.png", "a red star", "star.png"),
    ]
    for record in records:
        assert np.asarray(Image.open(Path("outputs", record["image"]))).shape[:2] == (64, 64)
