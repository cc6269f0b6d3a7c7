"""sdgen compare: methods that enlarge pictures, side by side and in figures."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_in
from click.testing import Result
from command import Command
from golden import inputs
from PIL import Image as Pillow

import sdgen as package
from sdgen.cli import comparing
from sdgen.errors import BackendError, ExitCode, ImageError
from sdgen.images import metrics, pictures
from sdgen.images.image import Image
from sdgen.pipeline import loading
from sdgen.pipeline.engine import Engine
from sdgen.pipeline.results import Denoised, Job, Progress
from sdgen.pipeline.watching import Watch
from sdgen.request import Request

RESAMPLING = {"bicubic": Pillow.Resampling.BICUBIC, "lanczos": Pillow.Resampling.LANCZOS}


class Enlarger(stand_in.Pipeline):
    """A model that enlarges by repeating pixels.

    A prompt makes it misbehave: "broken" gives no picture, "crash" raises, "size" gives another size.
    """

    def resolve(self, request: Request) -> Request:
        return request.replace(steps=request.steps or 4)

    def read(self, request: Request) -> Job:
        return Job(self.resolve(request), ())

    def draw(
        self, jobs: Sequence[Job], size: int, jit: bool, watch: Watch | None = None
    ) -> Iterator[Progress | Denoised]:
        steps = jobs[0].request.steps or 0
        if "crash" in jobs[0].request.prompt:
            raise RuntimeError("this should not happen")
        for step in range(steps):
            yield Progress(step + 1, steps, len(jobs))
        yield Denoised(tuple(jobs), None, 0.5, {"batch_size": len(jobs)})

    def decode(self, batch: Denoised) -> Iterator[Image]:
        for job in batch.jobs:
            request = job.request
            if "broken" in request.prompt:
                yield Image(request, None, 0.5, ImageError("the image came out black"))
                continue
            assert request.init_image is not None and request.upscale is not None
            small = Pillow.fromarray(request.init_image.pixels()).convert("RGB")
            factor = request.upscale + ("size" in request.prompt)
            size = small.width * factor, small.height * factor
            yield Image(request, np.asarray(small.resize(size, Pillow.Resampling.NEAREST)), 0.5, None, (), {})


def load(model: str, **options: Any) -> Engine:
    """The filters as they are, and a stand-in for models."""
    return loading.load(model, **options) if model in RESAMPLING else Enlarger()


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    command = Command(tmp_path, monkeypatch)
    monkeypatch.setitem(vars(package), "load", load)
    monkeypatch.setattr("sdgen.cli.compare_methods.locate", lambda model, **options: None)
    return command


def photo(name: str, width: int = 200, height: int = 120, seed: int = 0) -> np.ndarray:
    """A picture with detail in one place, written under a name."""
    pixels = ((inputs.picture(height, width) + 1) * 127.5).astype(np.uint8)
    place = pixels[height // 3 : height // 3 + 24, width // 2 : width // 2 + 24]
    place[:] = np.random.default_rng(seed).integers(0, 256, place.shape, np.uint8)
    Pillow.fromarray(pixels).save(name)
    return pixels


def small(pixels: np.ndarray, scale: int) -> Pillow.Image:
    picture = Pillow.fromarray(pixels)
    return picture.resize((picture.width // scale, picture.height // scale), Pillow.Resampling.BICUBIC)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_an_original_is_shrunk_enlarged_by_every_method_and_compared(sdgen: Command) -> None:
    pixels = photo("fox.png")
    result = sdgen.run("compare", "fox.png", "--shrink", "--methods", "bicubic,lanczos", "--json")
    assert result.exit_code == 0, result.stderr
    for line, name in zip(lines(result), ("bicubic", "lanczos"), strict=True):
        expected = np.asarray(small(pixels, 4).resize((200, 120), RESAMPLING[name]))
        assert line["psnr"] == pytest.approx(metrics.psnr(pixels, expected), abs=1e-3)
        assert line["ssim"] == pytest.approx(metrics.ssim(pixels, expected), abs=1e-5)
        known = {"image": "fox.png", "method": name, "scale": 4, "width": 200, "height": 120, "error": None}
        assert line.items() >= known.items()


def test_a_reference_is_what_a_small_picture_is_compared_with(sdgen: Command) -> None:
    pixels = photo("fox.png")
    small(pixels, 4).save("small.png")
    given = ("compare", "small.png", "--reference", "fox.png", "--methods", "bicubic", "--json")
    shrunk = ("compare", "fox.png", "--shrink", "--methods", "bicubic", "--json")
    first, second = lines(sdgen.run(*given))[0], lines(sdgen.run(*shrunk))[0]
    assert first["psnr"] == second["psnr"] and first["ssim"] == second["ssim"]


def test_the_table_has_a_line_for_every_result_and_the_means_of_several_pictures(sdgen: Command) -> None:
    photo("a.png")
    photo("b.png", seed=1)
    result = sdgen.run("compare", "a.png", "b.png", "--shrink", "--methods", "bicubic,lanczos")
    assert result.exit_code == 0 and result.stdout == ""
    rows = [line.split() for line in result.stderr.splitlines() if not line.startswith("loading")]
    assert [(row[0], row[-1]) for row in rows[1:5]] == list(
        itertools.product(("bicubic", "lanczos"), ("a.png", "b.png"))
    )
    for method, total in zip(("bicubic", "lanczos"), rows[5:], strict=True):
        assert total[0] == method and total[-3:] == ["mean", "of", "2"]
        psnr = [float(row[1]) for row in rows[1:5] if row[0] == method]
        assert float(total[1]) == pytest.approx(sum(psnr) / 2, abs=0.011)


def test_the_sheet_has_crops_of_the_original_and_of_every_method_where_there_is_detail(
    sdgen: Command,
) -> None:
    pixels = photo("fox.png", 400, 400)
    arguments = ("--shrink", "--methods", "bicubic,lanczos", "-o", "sheet.png", "--crop", "100,20,160")
    result = sdgen.run("compare", "fox.png", *arguments)
    assert result.exit_code == 0 and result.stdout == "sheet.png\n", result.stderr
    sheet = np.asarray(Pillow.open("sheet.png"))
    small_one = small(pixels, 4)
    expected = [pixels, *(np.asarray(small_one.resize((400, 400), how)) for how in RESAMPLING.values())]
    for number, shown in enumerate(expected):
        left = 8 + 160 + 8 + number * (160 + 8)
        assert (sheet[8 : 8 + 160, left : left + 160] == shown[20:180, 100:260]).all()
    assert pictures.is_sheet(Path("sheet.png"))


def test_the_figures_are_beside_the_sheet(sdgen: Command) -> None:
    photo("fox.png")
    arguments = ("--shrink", "--methods", "bicubic,ldm-sr", "--steps", "7", "-o", "sheet.png", "--json")
    printed = lines(sdgen.run("compare", "fox.png", *arguments))
    figures = json.loads(Path("sheet.json").read_text("utf-8"))
    (picture,) = figures["pictures"]
    without = [{key: value for key, value in row.items() if key != "settings"} for row in picture["results"]]
    assert without == printed
    assert (figures["sheet"], figures["scale"], figures["shrunk"]) == ("sheet.png", 4, True)
    assert [row["settings"]["steps"] for row in picture["results"]] == [None, 7]
    assert picture["reference"]["width"] == 200 and len(picture["crop"]) == 3


def test_without_an_original_there_is_a_sheet_and_no_figures(sdgen: Command) -> None:
    photo("small.png", 60, 50)
    result = sdgen.run("compare", "small.png", "--methods", "bicubic,lanczos", "-o", "sheet.png", "--json")
    assert [(line["psnr"], line["ssim"], line["width"]) for line in lines(result)] == [(None, None, 240)] * 2
    assert Path("sheet.png").exists() and "  -" in result.stderr
    result = sdgen.run("compare", "small.png", "--methods", "bicubic")
    assert result.exit_code == ExitCode.USAGE
    assert "give -o, --reference or --shrink" in result.stderr


def test_a_picture_is_cut_to_a_multiple_of_the_scale_before_it_is_shrunk(sdgen: Command) -> None:
    photo("odd.png", 203, 122)
    (line,) = lines(sdgen.run("compare", "odd.png", "--shrink", "--methods", "bicubic", "--json"))
    assert (line["width"], line["height"], line["error"]) == (200, 120, None)


@pytest.mark.parametrize(("width", "height"), [(4, 4), (4, 41), (11, 8)])
def test_tiny_pictures_are_compared(sdgen: Command, width: int, height: int) -> None:
    Pillow.fromarray(np.zeros((height, width, 3), np.uint8)).save("dot.png")
    arguments = ("--shrink", "--methods", "bicubic", "--json", "-o", "sheet.png")
    (line,) = lines(sdgen.run("compare", "dot.png", *arguments))
    # Black is enlarged without an error: no finite PSNR; a window of SSIM does not fit in.
    assert (line["psnr"], line["ssim"], line["error"]) == (None, None, None)


def test_transparent_pixels_are_compared_before_white(sdgen: Command) -> None:
    pixels = photo("fox.png")
    alpha = np.full((120, 200, 1), 255, np.uint8)
    alpha[:, :60] = 0
    Pillow.fromarray(np.concatenate([pixels, alpha], 2)).save("clear.png")
    white = pixels.copy()
    white[:, :60] = 255
    Pillow.fromarray(white).save("white.png")
    arguments = ("--shrink", "--methods", "bicubic", "--json")
    found = [lines(sdgen.run("compare", name, *arguments))[0] for name in ("clear.png", "white.png")]
    assert found[0]["psnr"] == found[1]["psnr"]


def test_options_reach_the_methods_that_take_them(sdgen: Command) -> None:
    photo("fox.png")
    options = ("--steps", "3", "--prompt", "a fox", "--noise-level", "40", "--seed", "5")
    arguments = ("--shrink", "--methods", "bicubic,ldm-sr,sd-x4", "-o", "sheet.png")
    assert sdgen.run("compare", "fox.png", *arguments, *options).exit_code == 0
    (picture,) = json.loads(Path("sheet.json").read_text("utf-8"))["pictures"]
    _, ldm, x4 = (row["settings"] for row in picture["results"])
    assert (ldm["steps"], ldm["prompt"], ldm["seed"]) == (3, "", 5) and "noise_level" not in ldm
    assert (x4["steps"], x4["prompt"], x4["seed"], x4["noise_level"]) == (3, "a fox", 5, 40)
    assert x4["model"] == "sd-x4-upscaler"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--methods", "bicubic", "--steps", "3"), "--steps means nothing to bicubic"),
        (("--methods", "bicubic,lanczos", "--seed", "3"), "--seed means nothing to bicubic, lanczos"),
        (("--methods", "ldm-sr", "--noise-level", "3"), "--noise-level means nothing to ldm-sr"),
        (("--methods", "latent-x2"), "latent-x2 enlarges by 2, not 4"),
        (("--methods", "bicubic,bicubic"), "no list of different names"),
        (("--methods", "bicubic,"), "no list of different names"),
        (("--methods", "bicubic", "--crop", "100,20"), "not a place and a size in pixels"),
        (("--methods", "bicubic", "--crop", "0,0,0"), "not a place and a size in pixels"),
        (("--methods", "bicubic", "--crop", "100,20,101"), "the crop 100,20,101 is not within fox.png"),
        (("--methods", "bicubic", "--reference", "fox.png"), "--shrink takes IMAGE for the original"),
        (("--methods", "bicubic", "--scale", "9"), "9 is not in the range"),
        (("--methods", "bicubic", "-o", "here/"), "is a folder; name an image file"),
        (("--methods", "bicubic", "-o", "fox.png"), "fox.png is already there"),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_is_enlarged(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    photo("fox.png")
    monkeypatch.setattr(comparing.Comparing, "_enlarge_all", lambda *_: pytest.fail("it was enlarged"))
    result = sdgen.run("compare", "fox.png", "--shrink", *arguments)
    assert result.exit_code != 0 and sentence in result.stderr and not result.stdout


def test_a_reference_of_another_size_is_refused_with_both_sizes(sdgen: Command) -> None:
    photo("fox.png")
    photo("small.png", 60, 30)
    result = sdgen.run("compare", "small.png", "--reference", "fox.png", "--methods", "bicubic")
    assert result.exit_code == ExitCode.USAGE
    assert "fox.png is 200x120, and small.png times 4 is 240x120" in result.stderr


def test_figures_of_another_sheet_are_not_overwritten(sdgen: Command) -> None:
    photo("fox.png")
    Path("sheet.json").write_text("{}")
    result = sdgen.run("compare", "fox.png", "--shrink", "--methods", "bicubic", "-o", "sheet.png")
    assert result.exit_code != 0 and "sheet.json is already there" in result.stderr
    assert Path("sheet.json").read_text() == "{}" and not Path("sheet.png").exists()


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("broken", "the image came out black"),
        ("crash", "this should not happen"),
        ("size", "sd-x4 made 250x150 of fox.png in place of 200x120"),
    ],
)
def test_a_method_that_fails_leaves_the_others_on_the_sheet(
    sdgen: Command, prompt: str, sentence: str
) -> None:
    photo("fox.png")
    arguments = ("--shrink", "--methods", "sd-x4,bicubic", "--prompt", prompt, "-o", "sheet.png", "--json")
    result = sdgen.run("compare", "fox.png", *arguments)
    assert result.exit_code == ExitCode.SOME_FAILED
    failed, made = lines(result)
    assert failed["psnr"] is None and sentence in failed["error"] and sentence in result.stderr
    assert made["error"] is None and Path("sheet.png").exists()


def test_a_model_that_cannot_be_loaded_leaves_the_others_on_the_sheet(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: str, **options: Any) -> Engine:
        if model == "ldm-sr":
            raise BackendError("there is no such device")
        return load(model, **options)

    monkeypatch.setitem(vars(package), "load", refuse)
    photo("fox.png")
    result = sdgen.run("compare", "fox.png", "--shrink", "-o", "sheet.png", "--json")
    assert result.exit_code == ExitCode.SOME_FAILED
    assert [line["error"] for line in lines(result)] == [None, "there is no such device"]
    assert Path("sheet.png").exists()


def test_nothing_is_written_where_nothing_was_made(sdgen: Command) -> None:
    photo("fox.png")
    arguments = ("--shrink", "--methods", "sd-x4", "--prompt", "broken", "-o", "sheet.png")
    result = sdgen.run("compare", "fox.png", *arguments)
    assert result.exit_code == ExitCode.NONE_DRAWN
    assert not Path("sheet.png").exists() and not Path("sheet.json").exists()


def test_an_interrupted_comparison_leaves_a_sheet_of_what_is_finished(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo("fox.png")
    stop = comparing.Comparing._take

    def take(self: comparing.Comparing, *arguments: Any) -> None:
        stop(self, *arguments)
        self.interrupts.take(2)

    monkeypatch.setattr(comparing.Comparing, "_take", take)
    result = sdgen.run("compare", "fox.png", "--shrink", "--methods", "bicubic,lanczos", "-o", "sheet.png")
    assert result.exit_code == ExitCode.INTERRUPTED
    (picture,) = json.loads(Path("sheet.json").read_text("utf-8"))["pictures"]
    assert [row["method"] for row in picture["results"]] == ["bicubic"]


def test_a_sheet_says_that_ai_made_a_part_of_it_where_a_model_did(sdgen: Command) -> None:
    photo("fox.png")
    for methods, more, marked in (
        ("bicubic", (), False),
        ("bicubic,ldm-sr", (), True),
        ("bicubic,ldm-sr", ("--no-metadata",), False),
    ):
        name = f"{methods}{len(more)}.png"
        assert (
            sdgen.run("compare", "fox.png", "--shrink", "--methods", methods, "-o", name, *more).exit_code
            == 0
        )
        assert ("compositeWithTrainedAlgorithmicMedia" in Path(name).read_bytes().decode("latin-1")) == marked


def test_a_folder_is_all_the_pictures_in_it_but_sheets(sdgen: Command) -> None:
    Path("in").mkdir()
    for name in ("in/a.png", "in/b.png"):
        photo(name)
    arguments = ("--shrink", "--methods", "bicubic", "--json", "-o", "in/sheet.png")
    assert [line["image"] for line in lines(sdgen.run("compare", "in", *arguments))] == [
        "in/a.png",
        "in/b.png",
    ]
    arguments = ("--shrink", "--methods", "bicubic", "--json")
    assert [line["image"] for line in lines(sdgen.run("compare", "in", *arguments))] == [
        "in/a.png",
        "in/b.png",
    ]


@pytest.mark.parametrize("command", [("show",), ("replay",)])
def test_the_file_of_figures_is_no_record_of_an_image(sdgen: Command, command: tuple[str, ...]) -> None:
    photo("fox.png")
    assert sdgen.run("compare", "fox.png", "--shrink", "--methods", "bicubic", "-o", "s.png").exit_code == 0
    result = sdgen.run(*command, "s.json")
    assert result.exit_code != 0 and "s.json" in result.stderr and "Traceback" not in result.stderr
