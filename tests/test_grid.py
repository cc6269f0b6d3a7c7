"""Contact sheets."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command, await_message
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sdgen.errors import ExitCode, InputError
from sdgen.images import contact_sheet, pictures, sheet_layout
from sdgen.request import Request

COLOURS = ((200, 0, 0), (0, 160, 0), (0, 0, 220), (150, 150, 0), (0, 150, 150), (150, 0, 150))


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def picture(
    path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (128, 128), **settings: Any
) -> Path:
    info = PngInfo()
    if settings:
        info.add_text("sdgen", Request(**{"prompt": "a fox", **settings}).to_json())
    Image.new("RGB", size, colour).save(path, pnginfo=info)
    return path


def sweep(folder: Path) -> list[sheet_layout.Entry]:
    """Two samplers with three numbers of steps, in an odd order."""
    fields = list(itertools.product((20, 5, 10), ("euler", "ddim")))
    return [
        sheet_layout.entry(picture(folder / f"{i}.png", COLOURS[i], steps=steps, sampler=sampler, seed=7))
        for i, (steps, sampler) in enumerate(fields)
    ]


def places(layout: sheet_layout.Layout) -> dict[tuple[int, int], str]:
    return {place: entry.path.stem for place, entry in layout.cells.items()}


def test_a_sweep_has_a_row_and_a_column_for_each_value(tmp_path: Path) -> None:
    layout = sheet_layout.arrange(sweep(tmp_path), "sampler", "steps")
    assert (layout.rows, layout.columns) == (["euler", "ddim"], ["5", "10", "20"])
    assert places(layout) == {(0, 0): "2", (0, 1): "4", (0, 2): "0", (1, 0): "3", (1, 1): "5", (1, 2): "1"}
    assert layout.captions == []
    assert layout.title == "a fox\nseed 7"


@pytest.mark.parametrize(
    ("rows", "columns", "shape", "captions"),
    [
        (None, None, (2, 3), ["steps", "sampler"]),
        (None, 4, (2, 4), ["steps", "sampler"]),
        ("steps", None, (3, 2), ["sampler"]),
        (None, "sampler", (3, 2), ["steps"]),
    ],
)
def test_captions_tell_what_no_label_does(
    tmp_path: Path, rows: str | None, columns: str | int | None, shape: tuple[int, int], captions: list[str]
) -> None:
    layout = sheet_layout.arrange(sweep(tmp_path), rows, columns)
    assert (len(layout.rows), len(layout.columns)) == shape
    assert layout.captions == captions


def test_a_caption_says_nothing_of_what_an_image_does_without(tmp_path: Path) -> None:
    from PIL import ImageFont

    plain = sheet_layout.entry(picture(tmp_path / "x.png", COLOURS[0], eta=0.0))
    varied = sheet_layout.entry(picture(tmp_path / "y.png", COLOURS[1], variation_of=3, variation=0.2))
    fields, font = ["schedule", "variation_of", "variation"], ImageFont.load_default(12)
    told = [" ".join(contact_sheet._caption(entry, fields, font, 1000)) for entry in (plain, varied)]
    assert told == ["none", "none, variation_of 3, variation 0.2"]


def test_two_images_in_one_place_are_named_with_their_difference(tmp_path: Path) -> None:
    entries = sweep(tmp_path)
    more = picture(tmp_path / "more.png", COLOURS[0], steps=20, sampler="ddim", seed=8)
    with pytest.raises(InputError, match=r"1.png and .*more.png both have .*; they differ in seed, file"):
        sheet_layout.arrange([*entries, sheet_layout.entry(more)], "sampler", "steps")


def test_missing_combinations_stay_empty(tmp_path: Path) -> None:
    layout = sheet_layout.arrange(sweep(tmp_path)[:-1], "sampler", "steps")
    assert (1, 1) not in layout.cells


def test_unknown_values_come_last(tmp_path: Path) -> None:
    entries = [sheet_layout.entry(picture(tmp_path / "x.png", COLOURS[0])), *sweep(tmp_path)]
    assert sheet_layout.arrange(entries, None, "steps").columns == ["5", "10", "20", "none"]


@pytest.mark.parametrize(("rows", "columns"), [("colour", None), (None, "width")])
def test_unknown_fields_are_refused(tmp_path: Path, rows: str | None, columns: str | None) -> None:
    with pytest.raises(InputError, match="there is no field"):
        sheet_layout.arrange(sweep(tmp_path), rows, columns)


def test_every_image_is_at_its_place(tmp_path: Path) -> None:
    pixels = np.asarray(contact_sheet.draw(sheet_layout.arrange(sweep(tmp_path), "sampler", "steps")))
    corners = {}
    for colour in COLOURS:
        rows, columns = np.nonzero((pixels == colour).all(-1))
        assert len(rows) == 128 * 128
        corners[colour] = rows.min(), columns.min()
    order = [COLOURS[i] for i in (2, 4, 0, 3, 5, 1)]
    assert sorted(COLOURS, key=lambda colour: corners[colour]) == order


def test_larger_images_are_made_smaller_and_keep_their_shape(tmp_path: Path) -> None:
    wide = sheet_layout.entry(picture(tmp_path / "w.png", COLOURS[0], (800, 400)))
    tall = sheet_layout.entry(picture(tmp_path / "t.png", COLOURS[1], (400, 800)))
    pixels = np.asarray(contact_sheet.draw(sheet_layout.arrange([wide, tall]), 200))
    for colour, shape in ((COLOURS[0], (100, 200)), (COLOURS[1], (100, 50))):
        rows, columns = np.nonzero((pixels == colour).all(-1))
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == shape


@pytest.mark.parametrize("prompt", ["富士山 🌸", "x" * 20_000, "two\nlines", "très beau"])
def test_any_prompt_can_be_written(tmp_path: Path, prompt: str) -> None:
    paths = [picture(tmp_path / f"{i}.png", COLOURS[i], prompt=f"{prompt}{i}"[-20_000:]) for i in range(2)]
    same = [picture(tmp_path / f"s{i}.png", COLOURS[i], prompt=prompt, seed=i) for i in range(2)]
    for files in (paths, same):
        drawn = contact_sheet.draw(sheet_layout.arrange([sheet_layout.entry(file) for file in files]))
        assert drawn.width == 8 + 2 * 136


def test_a_sheet_that_would_be_too_large_is_refused(tmp_path: Path) -> None:
    entry = sheet_layout.entry(picture(tmp_path / "x.png", COLOURS[0], (2000, 2000)))
    with pytest.raises(InputError, match="take smaller cells than 2000, or fewer images"):
        contact_sheet.draw(sheet_layout.arrange([entry] * 100), 2000)


@pytest.mark.parametrize(
    ("differing", "swept", "expected"),
    [
        ({"steps": (5, 10), "sampler": ("euler", "ddim")}, ["steps", "sampler"], ("sampler", "steps")),
        ({"steps": (5, 10), "prompt": ("a", "b")}, ["steps"], ("prompt", "steps")),
        ({"steps": (5, 10), "seed": (1, 2)}, ["steps"], ("seed", "steps")),
        ({"steps": (5, 10), "guidance": (2.0, 3.0), "seed": (1, 2)}, ["steps", "guidance"], (None, "steps")),
        ({"prompt": ("a", "b"), "seed": (1, 2)}, [], ("prompt", "seed")),
        ({"seed": (1, 2, 3)}, [], (None, None)),
        ({"size": ("64x64", "64x128")}, ["height"], (None, "size")),
        ({"steps": (5,), "seed": (1, 2)}, ["steps"], (None, None)),
    ],
)
def test_the_axes_that_suit_a_run(
    differing: dict[str, tuple[Any, ...]], swept: list[str], expected: tuple[str | None, str | None]
) -> None:
    entries = [
        sheet_layout.Entry(Path("x.png"), dict(zip(differing, values, strict=True)))
        for values in itertools.product(*differing.values())
    ]
    assert sheet_layout.axes(entries, swept) == expected
    assert len(sheet_layout.arrange(entries, *expected).cells) == len(entries)


def test_a_large_sheet_has_smaller_images(tmp_path: Path) -> None:
    entry = sheet_layout.entry(picture(tmp_path / "x.png", COLOURS[0], (256, 256)))
    with pytest.raises(contact_sheet.TooLarge):
        contact_sheet.draw(sheet_layout.arrange([entry] * 1600))
    assert contact_sheet.draw_fitting(sheet_layout.arrange([entry] * 1600)).width > 4000


def test_folders_are_searched_for_images_and_not_for_sheets(sdgen: Command) -> None:
    sdgen.drawn("a fox", "-n", "2")
    for name in ("a.png", "b.jpg", "c.webp"):
        assert sdgen.run("grid", "outputs", "-o", f"outputs/{name}").exit_code == 0
        assert pictures.is_sheet(Path("outputs", name))
    assert len(list(pictures.find([Path("outputs")]))) == 2


def test_draw_puts_its_images_on_a_sheet(sdgen: Command) -> None:
    result = sdgen.draw("a fox", "a cat", "-n", "3", "--seed", "7", "--grid", "sheets/s.png")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 6
    assert "contact sheet: sheets/s.png" in result.stderr
    assert Image.open("sheets/s.png").width > 3 * 128
    again = sdgen.draw("a fox", "--grid", "sheets/s.png/again.png")
    assert (again.exit_code, len(sdgen.loads)) == (ExitCode.NONE_DRAWN, 1)
    assert "sheets/s.png is in the way; choose another name with --grid" in again.stderr
    again = sdgen.draw("a fox", "--grid", "sheets/s.png")
    assert (again.exit_code, len(sdgen.loads)) == (ExitCode.NONE_DRAWN, 1)
    assert "sheets/s.png is already there and is not overwritten" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-o", "-", "--grid", "s.png"], "-o - stores no image"),
        (["-o", "s.png", "--grid", "./s.png"], "-o and --grid name one file"),
        (["--grid", "s.gif"], "--grid s.gif: .gif is not an image format"),
        (["--grid", "folder/"], "is a folder; name an image file"),
        (["--grid", "s.png", "-n", "5000", "--size", "64x64"], "takes up to 4096 images, and these are 5000"),
    ],
)
def test_a_sheet_that_cannot_be_is_refused_before_drawing(
    sdgen: Command, arguments: list[str], sentence: str
) -> None:
    result = sdgen.draw("a fox", *arguments)
    assert (result.exit_code, sdgen.loads) == (ExitCode.USAGE, [])
    assert sentence in result.stderr


def test_batch_puts_a_sweep_on_a_sheet_and_makes_it_again(sdgen: Command) -> None:
    def batch(*more: str) -> tuple[int, dict[str, Any]]:
        sweeps = ("--sweep", "steps=3,5,7", "--sweep", "guidance=2,4")
        result = sdgen.run("batch", "p.txt", "--model", "mini", *sweeps, "--grid", "s.png", "--json", *more)
        return result.exit_code, json.loads(result.stderr.splitlines()[-1])

    Path("p.txt").write_text("a fox\n")
    status, summary = batch()
    assert (status, summary["drawn"], summary["grid"]) == (0, 6, "s.png")
    first = np.asarray(Image.open("s.png"))
    assert len(first[0]) > 3 * 128 > len(first) > 2 * 64
    status, summary = batch()
    assert (status, summary["kept"]) == (0, 6)
    assert (np.asarray(Image.open("s.png")) == first).all()
    Image.new("RGB", (8, 8)).save("s.png")
    result = sdgen.run("batch", "p.txt", "--model", "mini", "--grid", "s.png")
    assert result.exit_code == ExitCode.NONE_DRAWN
    assert "s.png is already there" in result.stderr


def test_failed_images_are_missing_on_the_sheet(sdgen: Command) -> None:
    Path("p.txt").write_text("a fox\nbroken\n")
    result = sdgen.run("batch", "p.txt", "--model", "mini", "--seeds", "1,2", "--grid", "s.png")
    assert result.exit_code == ExitCode.SOME_FAILED
    assert pictures.is_sheet(Path("s.png"))


def test_where_nothing_is_drawn_there_is_no_sheet(sdgen: Command) -> None:
    result = sdgen.draw("broken", "--grid", "s.png")
    assert (result.exit_code, Path("s.png").exists()) == (ExitCode.NONE_DRAWN, False)


@pytest.mark.parametrize("arguments", [["draw", "held fox"], ["batch", "p.txt"]])
def test_images_are_there_even_if_the_sheet_cannot_be_written(sdgen: Command, arguments: list[str]) -> None:
    Path("p.txt").write_text("held fox\n")
    process = sdgen.start(*arguments, "--model", "mini", "--grid", "s.png")
    await_message(process, b"held")
    Path("s.png").write_bytes(b"mine")
    Path("go").touch()
    output, messages = process.communicate(timeout=60)
    assert process.returncode == ExitCode.SOME_FAILED
    assert b"no contact sheet: s.png is in the way" in messages
    assert (Path("s.png").read_bytes(), len(output.split())) == (b"mine", 1)


def test_the_command(sdgen: Command) -> None:
    sdgen.drawn("a fox", "--seed", "7", "-n", "3")
    result = sdgen.run("grid", "outputs", "-o", "sheet.webp", "--columns", "seed")
    assert (result.exit_code, result.stdout) == (0, "sheet.webp\n")
    assert Image.open("sheet.webp").format == "WEBP"
    assert [path.name for path in sdgen.folder.glob(".*")] == []
    again = sdgen.run("grid", "outputs", "-o", "sheet.webp")
    assert again.exit_code == ExitCode.NONE_DRAWN
    assert "is not overwritten" in again.stderr


def test_a_sidecar_stands_for_its_image(sdgen: Command) -> None:
    sdgen.drawn("a fox", "--seed", "7")
    assert sdgen.run("grid", "outputs/0001-a-fox-7.json", "-o", "sheet.png").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["missing.png", "-o", "sheet.png"],
        ["a" * 300, "-o", "sheet.png"],
        ["broken.png", "-o", "sheet.png"],
        ["empty", "-o", "sheet.png"],
        ["broken.png", "-o", "folder/"],
        ["broken.png", "-o", "sheet.gif"],
        ["broken.png"],
        ["broken.png", "-o", "sheet.png", "--columns", "0"],
        ["broken.png", "-o", "sheet.png", "--cell", "999999"],
    ],
)
def test_wrong_use_is_a_sentence(sdgen: Command, arguments: list[str]) -> None:
    Path("broken.png").write_bytes(b"no image")
    Path("empty").mkdir()
    result = sdgen.run("grid", *arguments)
    assert result.exit_code == ExitCode.USAGE
    assert len(result.stderr.splitlines()) == 1
    assert not Path("sheet.png").exists()
