"""Where a picture shows the most, and sheets of what several methods make of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from sdgen.errors import InputError
from sdgen.images import crops, methods_sheet
from sdgen.images.crops import Square
from sdgen.images.methods_sheet import Panel, Row

RED, GREEN, BLUE = (200, 0, 0), (0, 160, 0), (0, 0, 220)


def plain(height: int, width: int, colour: tuple[int, int, int] = (90, 90, 90)) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def test_the_crop_is_around_what_changes_from_pixel_to_pixel() -> None:
    pixels = plain(700, 1000)
    pixels[300:340, 640:700] = np.random.default_rng(0).integers(0, 256, (40, 60, 3))
    found = crops.most_detailed(pixels, 256)
    middle = found.x + found.side / 2, found.y + found.side / 2
    assert found.side == 256
    assert middle == (pytest.approx(670, abs=32), pytest.approx(320, abs=32))


@pytest.mark.parametrize(("height", "width", "side"), [(1, 1, 1), (7, 5, 5), (500, 300, 100), (64, 64, 64)])
def test_the_crop_of_a_plain_picture_is_in_its_middle(height: int, width: int, side: int) -> None:
    found = crops.most_detailed(plain(height, width), side)
    assert abs(found.x - (width - side) / 2) <= max(1, side // 8)
    assert abs(found.y - (height - side) / 2) <= max(1, side // 8)
    assert found.of(plain(height, width)).shape == (side, side, 3)


def test_the_crop_is_within_the_picture_where_the_detail_is_in_a_corner() -> None:
    pixels = plain(101, 203)
    pixels[-9:, -9:] = np.random.default_rng(0).integers(0, 256, (9, 9, 3))
    found = crops.most_detailed(pixels, 50)
    assert found.of(pixels).shape == (50, 50, 3)
    assert found.x > 203 - 50 - 12 and found.y > 101 - 50 - 12


def row(side: int = 200, colours: tuple[tuple[int, int, int], ...] = (GREEN, BLUE)) -> Row:
    panels = [Panel(f"method {n}", ("30.00 dB",), plain(side, side, c)) for n, c in enumerate(colours)]
    place = Square(400, 200, side)
    return Row("a.png", methods_sheet.shrunk(plain(600, 800), side), (800, 600), place, panels)


def where(pixels: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a colour's pixels."""
    rows, columns = np.nonzero((pixels == colour).all(-1))
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_crops_are_a_pixel_a_pixel_side_by_side() -> None:
    drawn = np.asarray(methods_sheet.draw([row()]))
    first, second = where(drawn, GREEN), where(drawn, BLUE)
    for left, top, right, bottom in (first, second):
        assert (right - left + 1, bottom - top + 1) == (200, 200)
    assert first[1] == second[1] and second[0] > first[2]


def test_every_picture_has_a_row() -> None:
    drawn = np.asarray(methods_sheet.draw([row(colours=(GREEN,)), row(colours=(BLUE,))]))
    assert where(drawn, GREEN)[0] == where(drawn, BLUE)[0]
    assert where(drawn, GREEN)[3] < where(drawn, BLUE)[1]


def test_the_place_of_the_crops_is_marked_in_the_whole_picture() -> None:
    drawn = np.asarray(methods_sheet.draw([row()]))
    left, top, right, bottom = where(drawn, (220, 0, 0))
    # 800 x 600 is a third as large there, 267 x 200, eight pixels from the corner.
    expected = [8 + 400 / 3, 8 + 200 / 3, 8 + 600 / 3, 8 + 400 / 3]
    assert [left, top, right, bottom] == pytest.approx(expected, abs=2)


def test_a_method_that_made_nothing_leaves_its_place_empty() -> None:
    made = row()
    failed = Row(
        made.name, made.whole, made.size, made.place, [made.panels[0], Panel("b", ("failed",), None)]
    )
    drawn = np.asarray(methods_sheet.draw([failed]))
    assert drawn.shape == np.asarray(methods_sheet.draw([made])).shape
    assert not (drawn == BLUE).all(-1).any()


def test_a_tiny_picture_has_a_sheet() -> None:
    whole = methods_sheet.shrunk(plain(4, 4), 4)
    panel = Panel("bicubic", (), plain(4, 4, GREEN))
    drawn = np.asarray(methods_sheet.draw([Row("dot.png", whole, (4, 4), Square(0, 0, 4), [panel])]))
    assert (drawn == GREEN).all(-1).sum() == 16


def test_a_sheet_that_would_be_too_large_is_refused_before_anything_is_drawn() -> None:
    methods_sheet.require_room([256] * 40, 4)
    with pytest.raises(InputError, match=r"have .* pixels; compare fewer pictures or methods"):
        methods_sheet.require_room([256] * 60, 4)
    with pytest.raises(InputError, match="the sheet would have"):
        methods_sheet.require_room([2048], 8)
