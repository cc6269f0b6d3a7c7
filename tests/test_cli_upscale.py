"""``sdgen upscale`` by filters: what it takes, stores, keeps, refuses and goes on with."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import command as commands
import numpy as np
import pytest
from click.testing import Result
from command import Command
from PIL import Image

from sdgen.errors import ExitCode, ImageError
from sdgen.pipeline import filter_engine


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch, real=True)


def picture(path: str, size: tuple[int, int] = (7, 5), colour: Any = "red", **options: Any) -> Path:
    Path(path).parent.mkdir(exist_ok=True, parents=True)
    mode = "RGBA" if isinstance(colour, tuple) and len(colour) == 4 else "RGB"
    Image.new(mode, size, colour).save(path, **options)
    return Path(path)


def upscaled(sdgen: Command, *arguments: str) -> list[dict[str, Any]]:
    """The sidecars of what is enlarged, in order."""
    result = sdgen.run("upscale", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    lines = map(json.loads, result.stdout.splitlines())
    return [json.loads(Path(line["sidecar"]).read_text(encoding="utf-8")) for line in lines]


def refused(result: Result, *words: str, code: int = ExitCode.USAGE) -> None:
    assert result.exit_code == code, result.stderr
    assert result.stderr.startswith("error: ") and len(result.stderr.splitlines()) == 1
    for word in words:
        assert word in result.stderr
    assert not result.stdout


def files(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_picture_is_four_times_as_large_and_keeps_its_name(sdgen: Command) -> None:
    picture("in/fox.png")
    (sidecar,) = upscaled(sdgen, "in/fox.png")
    assert sidecar["image"] == "fox.png" and sidecar["upscale"] == 4 and sidecar["model"] == "lanczos"
    assert Image.open("outputs/fox.png").size == (28, 20)
    assert files("in") == ["fox.png"]


def test_folders_patterns_and_files_go_together(sdgen: Command) -> None:
    for name in ("in/a.png", "in/b.jpg", "more/c.webp", "more/d.png", "e.bmp"):
        picture(name)
    named = [sidecar["image"] for sidecar in upscaled(sdgen, "in", "more/*.webp", "e.bmp", "-o", "out/")]
    assert named == ["a.png", "b.png", "c.png", "e.png"]


def test_pictures_of_one_name_get_one_each(sdgen: Command) -> None:
    picture("a/fox.png", colour="red")
    picture("b/fox.png", colour="blue")
    picture("c/Fox.png", colour="green")
    upscaled(sdgen, "a", "b", "c", "-o", "out/")
    assert [name for name in files("out") if name.endswith("png")] == ["Fox-3.png", "fox-2.png", "fox.png"]


def test_two_files_that_show_the_same_are_both_there(sdgen: Command) -> None:
    for name in ("in/a.png", "in/b.png"):
        picture(name)
    upscaled(sdgen, "in", "-o", "out/")
    assert [name for name in files("out") if name.endswith("png")] == ["a.png", "b.png"]


def test_a_file_that_is_named_twice_is_enlarged_once(sdgen: Command) -> None:
    picture("in/a.png")
    result = sdgen.run("upscale", "in/a.png", "in", "-o", "out/")
    assert result.exit_code == 0 and "1 picture given twice, and enlarged once" in result.stderr
    assert files("out") == ["a.json", "a.png"]


def test_the_same_command_keeps_what_is_there(sdgen: Command) -> None:
    for name in ("in/a.png", "in/b.png"):
        picture(name)
    upscaled(sdgen, "in", "-o", "out/")
    before = {name: Path("out", name).stat().st_mtime_ns for name in files("out")}
    Path("out/b.png").unlink()
    result = sdgen.run("upscale", "in", "-o", "out/", "--json")
    assert [json.loads(line)["status"] for line in result.stdout.splitlines()] == ["kept", "drawn"]
    assert files("out") == ["a.json", "a.png", "b.json", "b.png"]
    assert Path("out/a.png").stat().st_mtime_ns == before["a.png"]


def test_another_factor_or_method_goes_beside_what_is_there(sdgen: Command) -> None:
    picture("in/a.png")
    for more in ([], ["--scale", "2"], ["--method", "bicubic"], ["--scale", "2"]):
        upscaled(sdgen, "in", "-o", "out/", *more)
    assert [name for name in files("out") if name.endswith("png")] == ["a-2.png", "a-3.png", "a.png"]


@pytest.mark.parametrize("taken", ["outputs/a.png", "outputs/a.json"])
def test_what_is_somebody_elses_is_not_written_over(sdgen: Command, taken: str) -> None:
    picture("in/a.png")
    Path("outputs").mkdir()
    Path(taken).write_bytes(b"somebody else's")
    assert upscaled(sdgen, "in/a.png")[0]["image"] == "a-2.png"
    assert Path(taken).read_bytes() == b"somebody else's"


def test_a_picture_in_the_folder_of_what_is_made_stays(sdgen: Command) -> None:
    before = picture("outputs/a.png").read_bytes()
    assert upscaled(sdgen, "outputs/a.png")[0]["image"] == "a-2.png"
    assert Path("outputs/a.png").read_bytes() == before


@pytest.mark.parametrize("given", ["outputs", "outputs/*.png", "./outputs/"])
def test_the_pictures_of_a_folder_do_not_go_into_that_folder(sdgen: Command, given: str) -> None:
    picture("outputs/a.png")
    refused(sdgen.run("upscale", given), "give another folder with -o")


def test_without_metadata_there_is_the_picture_alone(sdgen: Command) -> None:
    picture("in/a.png")
    for _ in range(2):  # Nothing says whose the first is.
        assert sdgen.run("upscale", "in/a.png", "-o", "out/", "--no-metadata").exit_code == 0
    assert files("out") == ["a-2.png", "a.png"]
    assert "sdgen" not in Image.open("out/a.png").info


def test_one_picture_goes_to_a_file_that_is_not_there_yet(sdgen: Command) -> None:
    picture("a.png")
    assert sdgen.run("upscale", "a.png", "-o", "large.jpg", "--scale", "3").exit_code == 0
    assert Image.open("large.jpg").size == (21, 15)
    refused(sdgen.run("upscale", "a.png", "-o", "large.jpg"), "is already there", code=ExitCode.NONE_DRAWN)
    refused(sdgen.run("upscale", "a.png", "-o", "a.png"), "is already there", code=ExitCode.NONE_DRAWN)


def test_stdin_goes_to_stdout(sdgen: Command) -> None:
    data = picture("a.png", colour=(200, 100, 50, 128)).read_bytes()
    result = sdgen.run("upscale", "-", "-o", "-", "--method", "bicubic", "--scale", "2", input=data)
    assert result.exit_code == 0
    large = Image.open(io.BytesIO(result.stdout_bytes))
    assert (large.mode, large.size) == ("RGBA", (14, 10))
    assert np.abs(np.asarray(large).astype(int) - [200, 100, 50, 128]).max() <= 1
    assert files(".") == ["a.png"]


def test_a_picture_of_stdin_has_a_name_too(sdgen: Command) -> None:
    data = picture("a.png").read_bytes()
    assert sdgen.run("upscale", "-", input=data).exit_code == 0
    assert files("outputs") == ["image.json", "image.png"]


def test_a_photograph_is_turned_as_its_exif_says(sdgen: Command) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    picture("in/a.jpg", exif=exif)
    upscaled(sdgen, "in/a.jpg")
    assert Image.open("outputs/a.png").size == (20, 28)


def test_jpeg_shows_the_background_where_a_picture_is_transparent(sdgen: Command) -> None:
    picture("in/a.png", colour=(0, 0, 0, 0))
    upscaled(sdgen, "in/a.png", "-o", "out/", "--format", "jpeg", "--background", "#00ff00")
    assert np.abs(np.asarray(Image.open("out/a.jpg")).astype(int) - [0, 255, 0]).max() <= 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--steps", "20"],
            ["--steps means nothing to lanczos", "--method: ldm-sr, sd-x4, latent-x2"],
        ),
        (["--prompt", "x"], ["--prompt means nothing to lanczos", "sd-x4"]),
        (["--seed", "1", "--method", "bicubic"], ["--seed means nothing to bicubic"]),
        (["--dtype", "float16"], ["--dtype means nothing to lanczos"]),
        (["--low-memory"], ["--low-memory means nothing to lanczos"]),
        (["--method", "ldm-sr", "--prompt", "x"], ["--prompt means nothing to ldm-sr", "sd-x4"]),
        (["--method", "ldm-sr", "--noise-level", "9"], ["--noise-level means nothing to ldm-sr"]),
        (["--method", "latent-x2", "--scale", "4"], ["latent-x2 enlarges 2 times"]),
        (["--method", "sd-x4", "--scale", "3"], ["sd-x4 enlarges 2 or 4 times"]),
        (["--method", "lanczos", "--model", "x"], ["--model names weights, and lanczos has none"]),
        (["--scale", "9"], ["9"]),
        (["--method", "nearest"], ["nearest"]),
        (["-o", "x.gif"], [".gif"]),
    ],
)
def test_what_means_nothing_is_refused(sdgen: Command, arguments: list[str], words: list[str]) -> None:
    picture("a.png")
    refused(sdgen.run("upscale", "a.png", *arguments), *words)
    assert files(".") == ["a.png"]


def test_several_pictures_do_not_go_to_one_place(sdgen: Command) -> None:
    for name in ("in/a.png", "in/b.png"):
        picture(name)
    for place in ("x.png", "-"):
        refused(sdgen.run("upscale", "in", "-o", place), "-o names a place for one picture")


def test_settings_of_drawing_are_not_those_of_enlarging(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sdgen.config / "config.toml").write_text(
        'model = "mini"\nsteps = 20\nseed = 3\nsampler = "ddim"\ndtype = "float16"\nformat = "webp"\n'
    )
    monkeypatch.setenv("SDGEN_GUIDANCE", "9")
    monkeypatch.setenv("SDGEN_MODEL", "mini")
    monkeypatch.setenv("SDGEN_PROMPT", "a fox")
    picture("a.png")
    (sidecar,) = upscaled(sdgen, "a.png")
    assert (sidecar["model"], sidecar["steps"], sidecar["seed"]) == ("lanczos", None, 0)
    assert sidecar["image"] == "a.webp"


def test_a_picture_that_would_become_too_large_is_refused_with_its_name(sdgen: Command) -> None:
    picture("in/long.png", (4001, 1))
    picture("in/short.png")
    refused(sdgen.run("upscale", "in"), "in/long.png: upscale 4 makes 16004x4")


def test_a_webp_does_not_become_larger_than_one_that_can_be_read(sdgen: Command) -> None:
    picture("in/a.png", (3000, 1000))
    refused(sdgen.run("upscale", "in/a.png", "--format", "webp"), "in/a.png: of a WebP", "12000x4000")
    refused(sdgen.run("upscale", "in/a.png", "-o", "b.webp"), "in/a.png: of a WebP", "--format png")


def test_a_file_that_is_no_picture_is_refused(sdgen: Command) -> None:
    Path("a.png").write_text("no picture")
    refused(sdgen.run("upscale", "a.png"), "a.png")
    refused(sdgen.run("upscale", "b.png"), "b.png is not there")


def test_a_method_whose_model_is_not_here_says_how_to_get_it(sdgen: Command) -> None:
    picture("a.png")
    result = sdgen.run("upscale", "a.png", "--method", "ldm-sr")
    refused(result, "`sdgen models pull ldm-sr`", "the method lanczos", code=ExitCode.UNAVAILABLE)


def test_what_was_enlarged_is_shown_with_the_command_that_does_it_again(sdgen: Command) -> None:
    picture("in/a b.png")
    upscaled(sdgen, "in/a b.png", "--scale", "2", "--method", "bicubic")
    again = json.loads(sdgen.run("show", "outputs/a b.png", "--json").stdout)["command"]
    assert again == "sdgen upscale 'in/a b.png' --scale 2 --method bicubic"
    assert "  size        14x10\n" in sdgen.run("show", "outputs/a b.png").stdout


def test_what_was_enlarged_comes_out_identical_again(sdgen: Command) -> None:
    picture("in/a.png", colour=(9, 8, 7, 100))
    upscaled(sdgen, "in/a.png")
    result = sdgen.run("replay", "outputs/a.json")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "identical  outputs/a.json\n"


def test_a_prompts_file_may_enlarge_by_a_filter(sdgen: Command) -> None:
    picture("in/a.png")
    entry = {"prompt": "", "init_image": "in/a.png", "upscale": 2, "model": "bicubic"}
    Path("p.jsonl").write_text(json.dumps(entry) + "\n")
    result = sdgen.run("batch", "p.jsonl", "-o", "out/")
    assert result.exit_code == 0, result.stderr
    assert Image.open(result.stdout.strip()).size == (14, 10)
    dry = sdgen.run("batch", "p.jsonl", "-o", "out/", "--dry-run")
    assert dry.exit_code == 0, dry.stderr


def test_a_sheet_of_enlarged_pictures_tells_their_sizes(sdgen: Command) -> None:
    picture("in/a.png")
    upscaled(sdgen, "in/a.png", "-o", "out/")
    upscaled(sdgen, "in/a.png", "-o", "out/", "--scale", "2", "--method", "bicubic")
    result = sdgen.run("grid", "out", "-o", "sheet.png", "--columns", "size")
    assert result.exit_code == 0, result.stderr
    assert sdgen.run("gallery", "out").exit_code == 0


def test_no_framework_is_imported_to_enlarge_by_a_filter(sdgen: Command) -> None:
    picture("a.png")
    script = (
        "import sys\n"
        "from sdgen.cli.root import root\n"
        "try:\n"
        "    root.main(['upscale', 'a.png', '-o', 'b.png', '-q'])\n"
        "except SystemExit as ended:\n"
        "    print(ended.code, sorted({'keras', 'tensorflow', 'jax', 'torch'} & sys.modules.keys()))\n"
    )
    process = commands.start([sys.executable, "-c", script])
    out, err = process.communicate(timeout=60)
    assert "0 []" in (out + err).decode().splitlines()


def test_an_interrupted_run_goes_on(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcdefghijkl":
        picture(f"in/{name}.png")
    enlarged, numbers = filter_engine.enlarged, itertools.count()

    def interrupting(*arguments: Any) -> Any:
        if next(numbers) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return enlarged(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(filter_engine, "enlarged", interrupting)
        result = sdgen.run("upscale", "in", "-o", "out/")
    assert result.exit_code == ExitCode.INTERRUPTED and "go on with" in result.stderr
    there = len(result.stdout.splitlines())
    assert 2 <= there < 12 and len(files("out")) == 2 * there
    again = sdgen.run("upscale", "in", "-o", "out/", "--json")
    lines = [json.loads(line) for line in again.stdout.splitlines()]
    assert [line["status"] for line in lines].count("kept") == there
    assert len(lines) == 12 and len(files("out")) == 24


def test_a_picture_that_fails_costs_no_other_and_is_tried_again_where_that_is_asked(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("in/a.png", "in/b.png", "in/c.png"):
        picture(name)
    enlarged = filter_engine.FilterEngine._enlarged

    def failing(engine: Any, request: Any) -> Any:
        if request.init_image.file == "in/b.png":
            return None, ImageError("it has gone")
        return enlarged(engine, request)

    with monkeypatch.context() as patch:
        patch.setattr(filter_engine.FilterEngine, "_enlarged", failing)
        result = sdgen.run("upscale", "in", "-o", "out/")
    assert result.exit_code == ExitCode.SOME_FAILED and "error: in/b.png: it has gone" in result.stderr
    assert files("out") == ["a.json", "a.png", "b.failed", "c.json", "c.png"]
    again = sdgen.run("upscale", "in", "-o", "out/")
    assert again.exit_code == ExitCode.SOME_FAILED and "in an earlier run" in again.stderr
    assert sdgen.run("upscale", "in", "-o", "out/", "--retry-failed").exit_code == 0
    assert files("out") == ["a.json", "a.png", "b.json", "b.png", "c.json", "c.png"]


@pytest.mark.parametrize("option", ["--force", "--verify"])
def test_what_is_there_is_made_again_or_looked_at_where_that_is_asked(sdgen: Command, option: str) -> None:
    picture("in/a.png")
    upscaled(sdgen, "in/a.png")
    Image.new("RGB", (28, 20), "blue").save("outputs/a.png")
    line = json.loads(sdgen.run("upscale", "in/a.png", "--json", option).stdout)
    assert (line["status"], line["path"]) == ("drawn", "outputs/a.png")
    assert Image.open("outputs/a.png").getpixel((9, 9)) == (255, 0, 0)
    assert files("outputs") == ["a.json", "a.png"]


def test_processes_that_share_a_folder_share_the_work(sdgen: Command) -> None:
    for name in "abcdef":
        picture(f"in/{name}.png", (300, 300))
    command = [sys.executable, "-m", "sdgen", "upscale", "in", "-o", "out/"]
    processes = [commands.start(command) for _ in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err.decode()
    assert files("out") == sorted(f"{name}.{ending}" for name in "abcdef" for ending in ("json", "png"))


def test_processes_with_pictures_of_one_name_keep_both(sdgen: Command) -> None:
    picture("a/fox.png", (300, 300), "red")
    picture("b/fox.png", (300, 300), "blue")
    command = [sys.executable, "-m", "sdgen", "upscale", "-o", "out/"]
    processes = [commands.start([*command, folder]) for folder in "ab"]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err.decode()
    assert files("out") == ["fox-2.json", "fox-2.png", "fox.json", "fox.png"]
