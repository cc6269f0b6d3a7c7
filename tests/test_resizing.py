"""Pictures and masks brought to the size that is drawn, and what stands behind transparent ones."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sdgen.errors import InputError
from sdgen.pipeline.editing import compositing, resizing

SIZES = [(64, 48), (33, 90), (8, 8), (200, 16)]


def picture(width: int, height: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, channels), dtype=np.uint8)


def lanczos(pixels: np.ndarray, size: tuple[int, int], box: tuple[float, ...] | None = None) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, box=box))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [3, 4])
def test_stretch_is_pillows_lanczos_to_the_bit(size: tuple[int, int], channels: int) -> None:
    drawn = picture(70, 50, channels)
    if channels == 4:
        drawn[..., 3] = 255
    found = resizing.resized(drawn, *size, "stretch")
    assert (found[..., :3] == lanczos(np.ascontiguousarray(drawn[..., :3]), size)).all()
    assert channels == 3 or (found[..., 3] == 255).all()


@pytest.mark.parametrize("resize", ["fit", "fill", "stretch", "none"])
def test_a_picture_of_the_size_is_left_as_it_is(resize: str) -> None:
    drawn = picture(64, 48, 4)
    assert (resizing.resized(drawn, 64, 48, resize) == drawn).all()


def test_none_refuses_another_size_with_both() -> None:
    with pytest.raises(InputError, match=r"the picture is 70x50 and 64x48 is drawn"):
        resizing.resized(picture(70, 50), 64, 48, "none")


def test_fill_cuts_off_both_sides_alike() -> None:
    drawn = picture(100, 40)
    assert (resizing.resized(drawn, 40, 40, "fill") == drawn[:, 30:70]).all()
    assert (resizing.resized(drawn, 100, 20, "fill") == drawn[10:30]).all()
    assert (resizing.resized(drawn, 20, 20, "fill") == lanczos(drawn, (20, 20), (30, 0, 70, 40))).all()


def test_fit_shows_the_whole_picture_in_the_middle_and_goes_on_with_its_edges() -> None:
    drawn = picture(20, 40)
    found = resizing.resized(drawn, 60, 40, "fit")
    assert (found[:, 20:40] == drawn).all()
    assert (found[:, :20] == drawn[:, :1]).all()
    assert (found[:, 40:] == drawn[:, -1:]).all()
    found = resizing.resized(drawn, 20, 25, "fit")
    assert found.shape == (25, 20, 3)
    assert (found[:, 4:16] == lanczos(drawn, (12, 25))).all()


@pytest.mark.parametrize("resize", ["fit", "fill", "stretch"])
@pytest.mark.parametrize("size", SIZES)
def test_a_mask_stays_on_its_picture(resize: str, size: tuple[int, int]) -> None:
    mask = picture(70, 50)[..., 0]
    shown = np.repeat(mask[..., None], 3, axis=2)
    way = resizing.geometry((70, 50), size, resize)
    assert (resizing.applied(mask, way) == resizing.applied(shown, way)[..., 1]).all()


@pytest.mark.parametrize("resize", ["fit", "fill", "stretch"])
@pytest.mark.parametrize("source", [(1, 1), (1, 3000), (20_000, 1), (3, 2)])
@pytest.mark.parametrize("size", [(8, 8), (512, 8), (64, 128)])
def test_any_picture_comes_to_any_size(resize: str, source: tuple[int, int], size: tuple[int, int]) -> None:
    found = resizing.resized(np.full((source[1], source[0], 4), 77, np.uint8), *size, resize)
    assert found.shape == (size[1], size[0], 4)
    assert found.min() >= 76
    assert found.max() <= 78


def test_transparent_pixels_lend_no_colour_to_their_neighbours() -> None:
    drawn = np.zeros((64, 64, 4), np.uint8)
    drawn[:, :32] = (0, 255, 0, 0)
    drawn[:, 32:] = (255, 0, 0, 255)
    found = resizing.resized(drawn, 24, 24, "stretch")
    assert found[found[..., 3] > 16][:, 1].max() == 0


@pytest.mark.parametrize(
    ("source", "multiple", "most", "given", "expected"),
    [
        ((512, 512), 8, 4096, {}, (512, 512)),
        ((517, 389), 8, 4096, {}, (512, 384)),
        ((517, 389), 64, 4096, {}, (512, 384)),
        ((8000, 4000), 8, 4096, {}, (4096, 2048)),
        ((3000, 9000), 8, 4096, {}, (1360, 4096)),
        ((20_000, 1), 8, 4096, {}, (4096, 8)),
        ((1, 1), 64, 4096, {}, (64, 64)),
        ((1000, 500), 8, 4096, {"width": 512}, (512, 256)),
        ((1000, 500), 8, 4096, {"height": 512}, (1024, 512)),
        ((1, 20_000), 8, 4096, {"width": 512}, (512, 4096)),
    ],
)
def test_the_default_size_is_the_pictures(
    source: tuple[int, int],
    multiple: int,
    most: int,
    given: dict[str, int],
    expected: tuple[int, int],
) -> None:
    assert resizing.size_for(source, multiple, most, **given) == expected


@pytest.mark.parametrize(
    ("background", "expected"),
    [("white", [255, 255, 255]), ("#102030", [16, 32, 48]), ("rgba(1,2,3,4)", [1, 2, 3])],
)
def test_what_is_transparent_shows_the_background(background: str, expected: list[int]) -> None:
    drawn = picture(5, 600, 4)
    drawn[..., 3] = 0
    assert (compositing.over(drawn, background) == expected).all()
    drawn[..., 3] = 255
    assert (compositing.over(drawn, background) == drawn[..., :3]).all()


def test_half_transparent_pixels_are_mixed_and_rounded() -> None:
    alpha, colour = np.meshgrid(np.arange(256), np.arange(256))
    drawn = np.stack([colour, colour, colour, alpha], axis=-1).astype(np.uint8)
    expected = np.floor((alpha * colour + (255 - alpha) * 200) / 255 + 0.5)
    assert (compositing.over(drawn, "#c8c8c8")[..., 0] == expected).all()


@pytest.mark.parametrize("resize", ["fit", "fill", "stretch"])
def test_the_alpha_given_back_lies_where_the_picture_does(resize: str) -> None:
    drawn = picture(70, 50, 4)
    way = resizing.geometry((70, 50), (64, 64), resize)
    found = compositing.alpha_back(picture(64, 64), drawn[..., 3], way)
    assert (found[..., :3] == picture(64, 64)).all()
    assert (found[..., 3] == resizing.resized(drawn, 64, 64, resize)[..., 3]).all()
