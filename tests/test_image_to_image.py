"""Requests that start from a picture: what they are, and what is drawn of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sdgen
from sdgen.errors import InputError
from sdgen.request import Request


@pytest.fixture(scope="module")
def mini(mini_graph: Any) -> Any:
    """These tests look at pictures, not at what XLA compiles."""
    return mini_graph


@pytest.fixture
def picture() -> Any:
    """A red disc on blue with a transparent corner, uint8 (96, 128, 4)."""
    y, x = np.mgrid[:96, :128]
    pixels = np.full((96, 128, 4), (30, 60, 200, 255), np.uint8)
    pixels[(y - 48) ** 2 + (x - 64) ** 2 < 900, :3] = (220, 30, 30)
    pixels[:16, :32, 3] = 0
    return pixels


def test_a_request_without_a_picture_is_known_as_before() -> None:
    plain = Request(prompt="a fox")
    assert "init_image" not in plain.to_dict()
    assert plain.digest() == Request.from_dict(plain.to_dict()).digest()


def test_a_request_is_known_by_what_its_picture_shows_and_not_by_its_file(
    picture: Any, tmp_path: Path
) -> None:
    for name in ("one.png", "two.tiff"):
        Image.fromarray(picture).save(tmp_path / name)
    one, two, held = (
        Request(prompt="a fox", init_image=source)
        for source in (tmp_path / "one.png", str(tmp_path / "two.tiff"), picture)
    )
    assert one == two == held
    assert one.digest() == two.digest() == held.digest() != Request(prompt="a fox").digest()
    assert one.identity()["init_image"] == one.init_image.sha256
    assert Request.from_dict(one.to_dict()) == one


@pytest.mark.parametrize("field, value", [("strength", 0.5), ("resize", "fit"), ("background", "black")])
def test_what_is_for_pictures_means_nothing_without_one(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{field} means nothing without init_image"):
        Request(prompt="a fox", **{field: value})


@pytest.mark.parametrize(
    "steps, strength, run", [(50, 0.58, 28), (100, 0.29, 28), (100, 0.57, 56), (50, 1, 50), (4, 0.2, 0)]
)
def test_the_share_of_the_steps_is_cut_off_as_diffusers_does(
    picture: Any, steps: int, strength: float, run: int
) -> None:
    assert Request(prompt="a", init_image=picture, steps=steps, strength=strength).steps_run == run


def test_a_strength_that_runs_no_step_is_refused(mini: Any, picture: Any) -> None:
    with pytest.raises(InputError, match=r"with strength 0.1 none of 5 steps is run"):
        mini.resolve(Request(prompt="a", init_image=picture, strength=0.1, steps=5))


def test_the_size_is_the_pictures_to_the_models_multiple(mini: Any, picture: Any) -> None:
    resolved = mini.resolve(Request(prompt="a", init_image=np.tile(picture, (3, 3, 1))))
    assert (resolved.width, resolved.height) == (384, 288)
    assert (384 % mini.size_multiple, 288 % mini.size_multiple) == (0, 0)
    assert resolved.strength == 0.8


def test_a_weak_edit_keeps_the_picture_and_a_strong_one_does_not(mini: Any) -> None:
    (fish,) = mini.generate([Request(prompt="a red fish", seed=3, steps=10, width=128, height=128)])
    weak, strong = (
        np.abs(image.pixels.astype(float) - fish.pixels).mean()
        for image in mini.generate(
            [
                Request(prompt="a red fish", init_image=fish.pixels, strength=share, steps=10, seed=5)
                for share in (0.2, 1.0)
            ]
        )
    )
    assert weak < strong / 3, (weak, strong)


def test_the_pictures_transparency_is_given_back(mini: Any, picture: Any, tmp_path: Path) -> None:
    request = Request(prompt="a red heart", init_image=picture, strength=0.3, steps=4)
    (image,) = mini.generate([request])
    assert np.array_equal(image.pixels[..., 3], picture[..., 3])
    saved = image.save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(saved.path)), image.pixels)
    saved = image.save(tmp_path / "b.jpg")
    assert Image.open(saved.path).getpixel((4, 4)) == pytest.approx((255, 255, 255), abs=12)


def test_text_alone_and_pictures_share_a_program(mini: Any, picture: Any) -> None:
    request = Request(prompt="a", steps=2, width=128, height=96)
    jobs = [mini.read(request), mini.read(request.replace(init_image=picture, strength=0.5))]
    assert jobs[0].shape == jobs[1].shape


def test_a_picture_that_changes_before_it_is_drawn_is_an_error(
    mini: Any, picture: Any, tmp_path: Path
) -> None:
    file = tmp_path / "a.png"
    Image.fromarray(picture[::-1]).save(file)
    request = Request(prompt="a", init_image=file, steps=2)
    Image.fromarray(picture).save(file)
    with pytest.raises(sdgen.errors.ImageError, match="shows another picture than before"):
        list(mini.generate([request]))


def test_a_default_of_edited_pictures_is_for_the_entries_that_edit_one(picture: Any, tmp_path: Path) -> None:
    from sdgen import prompts

    Image.fromarray(picture).save(tmp_path / "start.png")
    file = tmp_path / "prompts.jsonl"
    file.write_text(f'{{"prompt": "a"}}\n{{"prompt": "b", "image": "{tmp_path / "start.png"}"}}\n')
    lines = list(prompts.read(str(file), None, {"strength": 0.5, "resize": "fit"}))
    assert [line.problems for line in lines] == [(), ()]
    assert [(line.request.strength, line.request.resize) for line in lines] == [(None, "fill"), (0.5, "fit")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.jsonl", '{"prompt": "a", "init_image": "in/start.png"}\n'),
        ("p.jsonl", '{"prompt": "a", "image": {"file": "in/start.png"}}\n'),
        ("p.csv", "prompt,init_img\na,in/start.png\n"),
        ("p.yaml", "- {prompt: a, Init Image: in/start.png}\n"),
        ("p.txt", "--prompt a --init_image in/start.png\n"),
    ],
)
def test_a_prompts_file_names_pictures_from_its_own_folder(
    picture: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    from sdgen import prompts

    folder = tmp_path / "job"
    (folder / "in").mkdir(parents=True)
    Image.fromarray(picture).save(folder / "in" / "start.png")
    (folder / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    (line,) = prompts.read(f"job/{name}")
    assert not line.problems
    assert line.request is not None
    assert line.request.init_image is not None
    assert line.request.init_image.file == os.path.join("job", "in", "start.png")


def test_a_prompts_file_may_name_a_picture_by_its_whole_path(picture: Any, tmp_path: Path) -> None:
    from sdgen import prompts

    Image.fromarray(picture).save(tmp_path / "start.png")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "p.jsonl").write_text(
        json.dumps({"prompt": "a", "init_image": str(tmp_path / "start.png")})
    )
    (line,) = prompts.read(tmp_path / "job" / "p.jsonl")
    assert line.request is not None and line.request.init_image is not None
    assert line.request.init_image.file == str(tmp_path / "start.png")


def test_a_picture_that_a_prompts_file_cannot_give_is_named_with_its_line(tmp_path: Path) -> None:
    from sdgen import prompts

    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b", "image": "gone.png"}\n')
    _, line = prompts.read(tmp_path / "p.jsonl")
    (problem,) = line.problems
    assert str(problem) == f"{tmp_path}/p.jsonl:2: image: {tmp_path}/gone.png is not there"
