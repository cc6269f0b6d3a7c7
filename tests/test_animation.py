"""Frames as one file: GIF, WebP, APNG and strips, with what they say of themselves."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdgen.errors import InputError
from sdgen.images import ai_mark, animation, pictures

FORMATS = ("gif", "webp", "apng")


def gradient(shift: int, height: int = 24, width: int = 40) -> np.ndarray:
    """Stripes that move, but for the upper left corner."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 200, width, dtype=np.uint8)
    pixels[..., 1] = (np.arange(height)[:, None] * 5 + shift) % 256
    pixels[..., 2] = 90
    pixels[:8, :8] = (250, 20, 30)
    return pixels


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def frames_of(data: bytes) -> list[np.ndarray]:
    picture = opened(data)
    found = []
    for number in range(picture.n_frames):
        picture.seek(number)
        found.append(np.asarray(picture.convert("RGB"), np.int16))
    return found


@pytest.mark.parametrize("format", FORMATS)
def test_an_animation_has_its_frames_in_order(format: str) -> None:
    frames = [gradient(20 * number) for number in range(6)]
    found = frames_of(animation.encode(frames, format))
    assert len(found) == len(frames)
    for expected, pixels in zip(frames, found, strict=True):
        assert np.abs(pixels - expected).mean() < 6


def test_an_apng_loses_nothing() -> None:
    frames = [gradient(20 * number) for number in range(4)]
    assert all(map(np.array_equal, frames_of(animation.encode(frames, "apng")), frames))


def test_what_stays_the_same_in_a_gif_has_one_colour_in_all_frames() -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (24, 40, 3), dtype=np.uint8) for _ in range(8)]
    for frame in frames:
        frame[:8, :8] = (251, 252, 250)
    corners = [pixels[:8, :8].reshape(-1, 3) for pixels in frames_of(animation.encode(frames, "gif"))]
    assert len({tuple(pixel) for corner in corners for pixel in corner}) == 1


@pytest.mark.parametrize("format", FORMATS)
def test_an_animation_goes_on_for_ever_and_holds_its_last_frame(format: str) -> None:
    picture = opened(animation.encode([gradient(40 * i) for i in range(5)], format, seconds=0.4, hold=1.5))
    assert picture.info["loop"] == 0
    durations = []
    for number in range(picture.n_frames):
        picture.seek(number)
        picture.load()
        durations.append(picture.info["duration"])
    assert durations == [100, 100, 100, 100, 1500]


class MadeOnce:
    """Frames that are made as they are asked for, and counted."""

    def __init__(self, count: int) -> None:
        self.count, self.made = count, 0

    def __len__(self) -> int:
        return self.count

    def __contains__(self, item: object) -> bool:
        return False

    def __iter__(self) -> Iterator[np.ndarray]:
        for number in range(self.count):
            self.made += 1
            yield gradient(40 * number)


@pytest.mark.parametrize("format", FORMATS)
def test_frames_may_be_made_as_they_are_needed(format: str) -> None:
    frames = MadeOnce(7)
    assert len(frames_of(animation.encode(frames, format))) == 7
    assert frames.made <= 3 * 7


def test_frames_that_are_too_much_for_the_memory_are_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animation, "MOST_PIXELS", 4 * 12 * 20)
    assert opened(animation.encode([gradient(i) for i in range(4)], "webp")).size == (20, 12)


@pytest.mark.parametrize("count", [0, animation.MOST_FRAMES + 1])
def test_no_frame_and_too_many_are_refused(count: int) -> None:
    with pytest.raises(InputError, match="takes 1 to 1000 frames"):
        animation.encode(MadeOnce(count), "gif")


def test_one_frame_is_an_animation_too() -> None:
    assert len(frames_of(animation.encode([gradient(0)], "gif"))) == 1


TEXT = "a café, café und Страна\nSteps: 25"


def test_a_gif_has_the_text_in_its_comment() -> None:
    comment = opened(animation.encode([gradient(0), gradient(9)], "gif", text=TEXT)).info["comment"]
    assert comment.decode() == f"sdgen record\n{TEXT}"


def test_a_webp_has_the_text_in_exif() -> None:
    fields = opened(animation.encode([gradient(0), gradient(9)], "webp", text=TEXT)).info["exif"]
    assert TEXT.encode() in fields


def test_a_png_has_the_text_in_a_chunk() -> None:
    assert opened(animation.encode([gradient(0), gradient(9)], "apng", text=TEXT)).text["Description"] == TEXT


@pytest.mark.parametrize("format", ["webp", "apng", "strip"])
def test_the_mark_of_ai_is_there_unless_it_is_left_out(format: str) -> None:
    def encoded(mark: bool) -> bytes:
        frames = [gradient(0), gradient(9)]
        if format == "strip":
            return animation.encode_strip([frames], ["1", "2"], mark=mark)
        return animation.encode(frames, format, mark=mark)

    assert ai_mark.GENERATED.encode() in encoded(True)
    assert ai_mark.GENERATED.encode() not in encoded(False)


def test_no_tool_takes_a_record_for_the_picture() -> None:
    picture = opened(animation.encode_strip([[gradient(0)]], ["1"], text=TEXT))
    assert not {"parameters", "sdgen"} & set(pictures.texts(picture))


@pytest.mark.parametrize("name", ["a.process.webp", "a.process.png"])
def test_records_in_a_folder_are_no_pictures_of_it(tmp_path: Path, name: str) -> None:
    frames = [gradient(0), gradient(9)]
    webp = name.endswith("webp")
    data = animation.encode(frames, "webp") if webp else animation.encode_strip([frames], ["1", "2"])
    (tmp_path / name).write_bytes(data)
    Image.fromarray(gradient(3)).save(tmp_path / "a.png")
    assert list(pictures.find([tmp_path])) == [tmp_path / "a.png"]


def test_a_strip_has_its_frames_side_by_side_under_labels() -> None:
    rows = [[gradient(10 * number + row) for number in range(3)] for row in range(2)]
    strip = np.asarray(opened(animation.encode_strip(rows, ["1", "13", "25"])))
    height, width = 24, 40
    assert strip.shape == (18 + 2 * height + 4, 3 * width + 8, 3)
    for row in range(2):
        for column in range(3):
            top, left = 18 + row * (height + 4), column * (width + 4)
            assert np.array_equal(strip[top : top + height, left : left + width], rows[row][column])
    for column in range(3):
        assert (strip[:16, column * 44 : column * 44 + 40] < 128).any()


def test_a_strip_that_would_be_too_wide_is_made_smaller() -> None:
    frames = [np.zeros((512, 2048, 3), np.uint8)] * 20
    assert opened(animation.encode_strip([frames], [str(i) for i in range(20)])).width <= 16_000


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [
        (25, 64, list(range(1, 26))),
        (25, 1, [25]),
        (25, 2, [1, 25]),
        (25, 5, [1, 7, 13, 19, 25]),
        (1, 8, [1]),
        (2, 8, [1, 2]),
    ],
)
def test_moments_are_spread_evenly(count: int, most: int, expected: list[int]) -> None:
    assert animation.evenly(count, most) == expected


def test_an_ending_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(InputError, match=r"--record a\.mp4: end the name in \.gif"):
        animation.format_of("a.mp4")
