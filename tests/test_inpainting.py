"""Requests that repaint a part of a picture: what they are, and what is drawn of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Command
from PIL import Image

from sdgen import prompts
from sdgen.errors import ExitCode, InputError
from sdgen.images import a1111_text
from sdgen.pipeline.editing.resizing import resized
from sdgen.request import Request
from sdgen.request.mask_fields import borders, zoomed_out


@pytest.fixture(scope="module")
def mini(mini_graph: Any) -> Any:
    """These tests look at pictures, not at what XLA compiles."""
    return mini_graph


def picture(height: int = 96, width: int = 128) -> Any:
    """Noise on a slope, uint8 (height, width, 3): no pixel that is drawn comes out as it was by chance."""
    rng = np.random.default_rng(height * width)
    slope = np.linspace(40, 200, width)[None, :, None]
    return (slope + rng.integers(-20, 20, (height, width, 3))).astype(np.uint8)


def mask(height: int = 96, width: int = 128, level: int = 255) -> Any:
    """White in the middle, uint8 (height, width)."""
    white = np.zeros((height, width), np.uint8)
    white[height // 4 : -height // 4, width // 4 : -width // 4] = level
    return white


def request(**fields: Any) -> Request:
    given = {"prompt": "a red heart", "steps": 2, "seed": 3, "init_image": picture(), "mask": mask()}
    return Request(**{**given, **fields})


def outside(drawn: Any, before: Any, white: Any) -> int:
    """How many pixels differ where the mask is black."""
    return int((drawn[white == 0] != before[white == 0]).any(-1).sum())


def psnr(a: Any, b: Any) -> float:
    error = np.mean((a.astype(float) - b) ** 2)
    return float(np.inf if error == 0 else 10 * np.log10(255**2 / error))


@pytest.mark.parametrize(
    "fields",
    [
        {"mask_blur": 2},
        {"only_masked": 8},
        {"colour_match": True},
        {"mask": None, "mask_alpha": False, "mask_blur": 2},
    ],
)
def test_what_is_for_masks_means_nothing_without_one(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="means nothing without mask or mask_alpha or outpaint"):
        Request(**{"prompt": "a", "init_image": picture(), **fields})


def test_a_black_mask_is_refused_and_turned_round_it_repaints_all() -> None:
    with pytest.raises(InputError, match="the mask is black throughout") as caught:
        request(mask=mask(level=0))
    assert caught.value.field == "mask"
    assert request(mask=mask(level=0), mask_invert=True).masked


def test_a_mask_means_nothing_without_a_picture() -> None:
    with pytest.raises(InputError, match="mask means nothing without init_image"):
        Request(prompt="a", mask=mask())


@pytest.mark.parametrize("size", [(96, 128), (192, 256), (48, 64), (24, 33)])
def test_a_mask_of_the_same_proportions_fits(size: tuple[int, int]) -> None:
    assert request(mask=mask(*size)).masked


@pytest.mark.parametrize("size", [(128, 96), (128, 128), (96, 120), (1, 1000)])
def test_a_mask_of_other_proportions_is_refused_with_both_sizes(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"the mask is {size[1]}x{size[0]} and the picture 128x96") as caught:
        request(mask=np.full(size, 255, np.uint8))
    assert caught.value.field == "mask"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"mask": np.full((96, 128), 255, np.uint8), "mask_invert": True}, "is white throughout and turned"),
        ({"mask": None, "mask_alpha": True}, "mask of the picture's transparency is black throughout"),
        ({"mask_alpha": True}, "mask and mask_alpha both"),
        ({"hires": 2}, "hires enlarges"),
        ({"outpaint": "4096", "init_image": picture(2000, 2000), "mask": None, "only_masked": 8}, "add less"),
        ({"outpaint": "2048"}, "too large to be drawn at once"),
        ({"only_masked": 8, "resize": "fit"}, "keeps its size; leave out resize fit"),
        ({"outpaint": "8", "width": 128, "height": 128}, "the size follows"),
        ({"resize": "none", "width": 64, "height": 64}, "the picture comes to 128x96 and 64x64"),
        ({"strength": 0}, "none of 2 steps"),
    ],
)
def test_what_cannot_be_repainted_is_a_sentence(mini: Any, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        mini.resolve(request(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"init_image": picture(83, 117), "mask": mask(83, 117)},
        {"mask_blur": 0},
        {"mask_blur": 20, "colour_match": True},
        {"mask": mask(level=120)},
        {"only_masked": 4, "width": 64, "height": 64},
        {"only_masked": 60, "width": 128, "height": 64, "colour_match": True},
        {"strength": 0.5, "rng": "torch", "sampler": "euler-a", "steps": 4},
    ],
)
def test_what_is_black_comes_back_bit_for_bit(mini: Any, fields: dict[str, Any]) -> None:
    asked = request(**fields)
    before = asked.init_image.pixels()[..., :3]
    (image,) = mini.generate([asked])
    assert image.pixels.shape == before.shape
    assert image.request.stored_size == before.shape[1::-1]
    white = asked.mask.pixels()[..., 0]
    assert outside(image.pixels, before, white) == 0
    assert (image.pixels != before).any(-1)[white > 0].mean() > 0.5


def test_a_picture_that_is_resized_comes_back_where_the_mask_is_black(mini: Any) -> None:
    (image,) = mini.generate([request(width=64, height=64)])
    before = resized(picture(), 64, 64, "fill")
    # Of 96 x 96 pixels, each of 64 x 64 has a part in two along each side.
    white = mask()[:, 16:112][:, np.arange(64)[:, None] * 3 // 2 + [0, 1]].max(-1)
    black = white[np.arange(64)[:, None] * 3 // 2 + [0, 1]].max(1) == 0
    np.testing.assert_array_equal(image.pixels[black], before[black])


def test_what_is_transparent_is_repainted_and_becomes_opaque(mini: Any) -> None:
    pixels = np.dstack([picture(), np.full((96, 128), 255, np.uint8)])
    pixels[20:70, 30:90, 3] = 0
    (image,) = mini.generate([request(init_image=pixels, mask=None, mask_alpha=True)])
    assert image.pixels.shape == (96, 128, 3)
    assert outside(image.pixels, pixels[..., :3], 255 - pixels[..., 3]) == 0


def test_transparency_that_no_mask_repaints_comes_back_with_its_colours(mini: Any) -> None:
    pixels = np.dstack([picture(), np.full((96, 128), 255, np.uint8)])
    pixels[:10, :10, 3] = 77
    (image,) = mini.generate([request(init_image=pixels)])
    assert image.pixels.shape == (96, 128, 4)
    black = mask() == 0
    np.testing.assert_array_equal(image.pixels[black], pixels[black])


def test_an_inverted_mask_keeps_what_is_white(mini: Any) -> None:
    (image,) = mini.generate([request(mask_invert=True)])
    assert outside(image.pixels, picture(), 255 - mask()) == 0
    assert outside(image.pixels, picture(), mask()) > 1000


def test_a_full_mask_is_image_to_image(mini: Any) -> None:
    """At strength 1 it begins at noise alone, as text to image does."""
    full = np.full((96, 128), 255, np.uint8)
    inpainted, plain = mini.generate(
        [
            request(mask=full, rng="torch", strength=0.5, steps=4),
            request(mask=None, rng="torch", strength=0.5, steps=4),
        ]
    )
    assert psnr(inpainted.pixels, plain.pixels) > 45


def test_pictures_masks_strengths_and_steps_of_a_batch_are_those_of_one_by_one(mini: Any) -> None:
    requests = [
        request(seed=1),
        request(seed=2, strength=0.5, steps=6, mask=mask(level=120)),
        request(seed=3, init_image=picture()[:, ::-1], mask_invert=True),
        request(seed=4, steps=5, strength=0.8, mask_blur=16, sampler="dpmpp-2m"),
        request(seed=5, only_masked=8, width=128, height=96, sampler="euler-a", steps=3),
    ]
    before = mini.compilations
    together = list(mini.generate(requests, batch_size=5))
    assert mini.compilations <= before + 1
    for image, asked in zip(together, requests, strict=True):
        (alone,) = mini.generate([asked], batch_size=1)
        assert psnr(image.pixels, alone.pixels) > 45, asked


@pytest.mark.parametrize(
    ("outpaint", "pixels"),
    [
        ("128,0,64,8", (128, 0, 64, 8)),
        ("25%,50%,0,100%", (50, 50, 0, 100)),
        ("16", (16, 16, 16, 16)),
        (" 10px , 5 %,0,0", (10, 5, 0, 0)),
        ((1, 2, 3, 4), (1, 2, 3, 4)),
    ],
)
def test_borders_are_pixels_or_shares_of_a_side(outpaint: Any, pixels: tuple[int, ...]) -> None:
    asked = Request(prompt="a", init_image=picture(100, 200), outpaint=outpaint)
    assert borders(asked.outpaint, 200, 100) == pixels
    assert Request.from_dict(asked.to_dict()) == asked


@pytest.mark.parametrize(
    "outpaint",
    ["", "1,2,3", "1,2,3,4,5", "-1,0,0,0", "0", "0%,0,0,0", "1.5,0,0,0", "401%,0,0,0", "5000", "a,b,c,d"],
)
def test_borders_that_are_none_are_refused(outpaint: str) -> None:
    with pytest.raises(InputError, match="outpaint"):
        Request(prompt="a", init_image=picture(), outpaint=outpaint)


def test_zooming_out_makes_the_picture_so_many_times_as_large() -> None:
    left, top, right, bottom = borders(zoomed_out(1.5), 200, 100)
    assert (200 + left + right, 100 + top + bottom) == (300, 150)
    assert (left, top) == (right, bottom)


@pytest.mark.parametrize(
    ("fields", "strength"), [({}, 1), ({"outpaint": "8"}, 1), ({"outpaint": "8", "mask": None}, 0.8)]
)
def test_a_mask_repaints_all_and_outpainting_goes_on_from_the_mirrored_picture(
    mini: Any, fields: dict[str, Any], strength: float
) -> None:
    assert mini.resolve(request(**fields)).strength == strength


@pytest.mark.slow
@pytest.mark.parametrize(("outpaint", "only"), [("5,7,6,5", None), ("0,0,50%,0", 16)])
def test_outpainting_keeps_the_pictures_pixels_and_has_the_size_asked_for(
    mini: Any, outpaint: str, only: int | None
) -> None:
    before = picture(83, 117)
    fields = {} if only is None else {"only_masked": only, "width": 128, "height": 128}
    asked = request(init_image=before, mask=None, outpaint=outpaint, **fields)
    (image,) = mini.generate([asked])
    left, top, right, bottom = borders(outpaint, 117, 83)
    assert image.pixels.shape == (83 + top + bottom, 117 + left + right, 3)
    np.testing.assert_array_equal(image.pixels[top : top + 83, left : left + 117], before)


def test_an_image_that_was_repainted_is_drawn_again_from_its_record(mini: Any, tmp_path: Path) -> None:
    Image.fromarray(picture(83, 117)).save(tmp_path / "a.png")
    Image.fromarray(mask(83, 117)).save(tmp_path / "m.png")
    asked = request(init_image=tmp_path / "a.png", mask=tmp_path / "m.png")
    (image,) = mini.generate([asked])
    recorded = Request.from_dict(image.request.to_dict())
    assert mini.resolve(recorded) == recorded == image.request
    (again,) = mini.generate([recorded])
    np.testing.assert_array_equal(again.pixels, image.pixels)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command with the stand-in pipeline, a picture and masks in its folder."""
    made = Command(tmp_path, monkeypatch)
    for name, pixels in {
        "a": picture(),
        "m": mask(),
        "black": mask(level=0),
        "wide": mask(96, 256),
    }.items():
        Image.fromarray(pixels).save(made.folder / f"{name}.png")
    return made


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--mask", "m.png"], "mask means nothing without init_image"),
        (["--mask-alpha"], "mask_alpha means nothing without init_image"),
        (["--zoom-out", "2"], "outpaint means nothing without init_image"),
        (["--init-image", "a.png", "--mask-blur", "3"], "mask_blur means nothing without mask"),
        (["--init-image", "a.png", "--only-masked", "3"], "only_masked means nothing without mask"),
        (["--init-image", "a.png", "--mask", "gone.png"], "gone.png is not there"),
        (["--init-image", "a.png", "--mask", "black.png"], "the mask is black throughout"),
        (["--init-image", "a.png", "--mask", "wide.png"], "the mask is 256x96 and the picture 128x96"),
        (["--init-image", "a.png", "--mask", "m.png", "--mask-alpha"], "--mask and --mask-alpha both"),
        (["--init-image", "a.png", "--outpaint", "1", "--zoom-out", "2"], "--outpaint and --zoom-out both"),
        (["--init-image", "a.png", "--outpaint", "1,2"], "such as 128,0,128,0"),
        (["--init-image", "a.png", "--zoom-out", "1"], "'1' is not a factor above 1"),
    ],
)
def test_the_command_answers_what_it_cannot_repaint_before_a_model_is_loaded(
    command: Command, options: list[str], sentence: str
) -> None:
    result = command.draw("a heart", *options)
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert sentence in result.stderr
    assert not command.loads


def test_the_record_and_other_tools_line_say_how_a_picture_was_repainted(command: Command) -> None:
    (sidecar,) = command.drawn(
        *("a heart", "--init-image", "a.png", "--mask", "m.png", "--mask-invert", "--only-masked", "32")
    )
    assert (sidecar["mask"]["file"], sidecar["mask_invert"], sidecar["only_masked"]) == ("m.png", True, 32)
    assert "mask_blur" not in sidecar
    line = a1111_text.write(
        Request(prompt="a", init_image="a.png", mask="m.png", mask_invert=True, only_masked=32)
    )
    for pair in (
        "Mask mode: Inpaint not masked",
        "Mask blur: 4",
        "Inpaint area: Only masked",
        "Masked area padding: 32",
    ):
        assert pair in line.splitlines()[-1].split(", ")


def test_zooming_out_is_recorded_as_what_it_adds(command: Command) -> None:
    (sidecar,) = command.drawn("a heart", "--init-image", "a.png", "--zoom-out", "1.5")
    assert sidecar["outpaint"] == "25%,25%,25%,25%"


def test_a_settings_files_mask_blur_is_for_pictures_with_a_mask(command: Command) -> None:
    (command.config / "config.toml").write_text("mask-blur = 9\n")
    plain, masked = (
        command.drawn("a heart", *options)[0]
        for options in ([], ["--init-image", "a.png", "--mask", "m.png", "--seed", "4"])
    )
    assert ("mask_blur" in plain, masked["mask_blur"]) == (False, 9)


def test_a_prompts_file_names_masks_from_its_own_folder(command: Command) -> None:
    (command.folder / "job").mkdir()
    for name in ("a.png", "m.png"):
        (command.folder / name).rename(command.folder / "job" / name)
    (command.folder / "job" / "p.jsonl").write_text('{"prompt": "a", "image": "a.png", "mask": "m.png"}\n')
    (line,) = prompts.read("job/p.jsonl")
    assert line.request is not None and line.request.mask is not None
    assert line.request.mask.file == os.path.join("job", "m.png")
