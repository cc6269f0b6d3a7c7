"""The fields of a request that enlarges a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sdgen.errors import InputError
from sdgen.request import FIELDS, Request
from sdgen.request.upscale_fields import MEANINGLESS


def picture(width: int, height: int) -> dict[str, Any]:
    """A picture of which only a record is read: it has no pixels."""
    return {"file": "gone.png", "sha256": "0" * 64, "width": width, "height": height}


def enlarging(**fields: Any) -> Request:
    return Request(**{"prompt": "", "init_image": picture(7, 5), "upscale": 4, **fields})


def test_what_is_stored_is_the_picture_times_the_factor() -> None:
    assert enlarging().stored_size == (28, 20)
    assert enlarging(width=128, height=64).stored_size == (28, 20)
    assert enlarging(upscale=3).stored_size == (21, 15)


def test_a_request_that_enlarges_nothing_is_known_as_before() -> None:
    assert not {"upscale", "noise_level"} & Request(prompt="a").to_dict().keys()


def test_it_survives_json_and_counts_in_what_it_asks_for() -> None:
    request = enlarging(noise_level=20)
    assert Request.from_dict(request.to_dict()) == request
    assert len({each.digest() for each in (request, enlarging(), enlarging(upscale=2))}) == 3


@pytest.mark.parametrize("factor", [1, 0, -2, 9, 2.5, "two", True])
def test_other_factors_are_refused(factor: Any) -> None:
    with pytest.raises(InputError, match=r"^upscale must be"):
        enlarging(upscale=factor)


@pytest.mark.parametrize("level", [-1, 351, 20.5, "much"])
def test_other_noise_levels_are_refused(level: Any) -> None:
    with pytest.raises(InputError, match=r"^noise_level must be"):
        enlarging(noise_level=level)


def test_enlarging_needs_a_picture() -> None:
    with pytest.raises(InputError, match=r"^upscale means nothing without init_image"):
        Request(prompt="", upscale=2)


def test_a_noise_level_needs_enlarging() -> None:
    with pytest.raises(InputError, match=r"^noise_level means nothing without upscale"):
        enlarging(upscale=None, noise_level=20)


SET: dict[str, Any] = {
    "strength": 0.5,
    "resize": "fit",
    "seamless": "x",
    "mask": np.full((5, 7), 255, np.uint8),
    "mask_alpha": True,
    "outpaint": "8,0,0,0",
    "hires": 2,
}


def test_each_field_that_means_nothing_is_tried() -> None:
    assert set(SET) == set(MEANINGLESS) and set(SET) < set(FIELDS)


@pytest.mark.parametrize("field", SET)
def test_what_means_nothing_to_a_picture_that_is_enlarged_is_refused(field: str) -> None:
    with pytest.raises(InputError, match=f"^{field} means nothing with upscale") as caught:
        enlarging(**{field: SET[field]})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("size", "factor", "fits"),
    [
        ((1, 1), 2, True),
        ((2000, 1500), 4, True),
        ((8000, 10), 2, True),
        ((8001, 10), 2, False),
        ((4096, 4096), 2, True),
        ((4096, 4097), 2, False),
    ],
)
def test_a_picture_becomes_no_larger_than_one_that_can_be_read(
    size: tuple[int, int], factor: int, fits: bool
) -> None:
    if fits:
        assert enlarging(init_image=picture(*size), upscale=factor).stored_size
        return
    with pytest.raises(
        InputError, match=rf"^upscale 2 makes \d+x\d+ of {size[0]}x{size[1]}; the most is 16000"
    ):
        enlarging(init_image=picture(*size), upscale=factor)


def test_only_a_picture_that_is_enlarged_is_drawn_larger_than_others() -> None:
    assert enlarging(width=8064, height=6080).width == 8064
    with pytest.raises(InputError, match=r"^height must be 8 to 4096, not 6080") as caught:
        Request(prompt="a", width=64, height=6080)
    assert caught.value.field == "height"
