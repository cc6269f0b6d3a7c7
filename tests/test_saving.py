"""sdgen.Image.save and to_pil, and docs/python.md."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_in
from stand_in import DETAILS, REQUEST, draw

import sdgen
from sdgen.errors import ImageError, InputError, OutputError
from sdgen.images import metadata, records
from sdgen.pipeline import loading

DOCS = Path(__file__).parents[1] / "docs" / "python.md"


def image(**changes: Any) -> sdgen.Image:
    return dataclasses.replace(sdgen.Image(REQUEST, draw(REQUEST), 0.5, None, (), DETAILS), **changes)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_picture_for_pillow_has_the_pixels() -> None:
    picture = image().to_pil()
    assert picture.mode == "RGB"
    assert np.array_equal(np.asarray(picture), draw(REQUEST))


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.jpg", "new/folders/a.jpeg"])
def test_a_saved_image_tells_its_request_and_has_a_sidecar(name: str) -> None:
    saved = image().save(name)
    assert (saved.path, saved.sidecar) == (Path(name), Path(name).with_suffix(".json"))
    assert saved.sidecar is not None
    assert records.read(saved.sidecar).request() == REQUEST
    saved.sidecar.unlink()
    assert records.read(saved.path).request() == REQUEST


def test_a_folder_gives_the_names_of_the_command() -> None:
    names = [image().save(folder).path.as_posix() for folder in ("out/", "out", Path("out"))]
    assert names == [f"out/000{number}-a-red-fox-7.png" for number in (1, 2, 3)]


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.jpg"])
def test_without_metadata_there_is_no_text_and_no_sidecar(name: str) -> None:
    saved = image().save(name, metadata=False)
    assert saved.sidecar is None
    assert os.listdir() == [name]
    assert Path(name).read_bytes() == metadata.encode(draw(REQUEST), metadata_format(name))


def metadata_format(name: str) -> str:
    return {".png": "png", ".webp": "webp", ".jpg": "jpeg"}[Path(name).suffix]


def test_nothing_is_overwritten_unasked() -> None:
    Path("a.png").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.png is already there; give another path, or overwrite=True"):
        image().save("a.png")
    assert Path("a.png").read_text() == "mine"


def test_overwriting_replaces_image_and_sidecar() -> None:
    image().save("a.png")
    other = image(request=REQUEST.replace(seed=8))
    saved = other.save("a.png", overwrite=True)
    assert saved.sidecar is not None
    assert json.loads(saved.sidecar.read_text("utf-8"))["seed"] == 8
    assert records.read(saved.path).settings["seed"] == 8


def test_an_image_without_pixels_says_why() -> None:
    failed = image(pixels=None, error=ImageError("its latents are not finite"))
    for use in (failed.to_pil, lambda: failed.save("a.png")):
        with pytest.raises(ImageError, match="its latents are not finite"):
            use()
    assert not os.listdir()


def test_errors_speak_of_no_options() -> None:
    Path("file").touch()
    with pytest.raises(InputError, match=r"path a\.bmp: \.bmp is not an image format"):
        image().save("a.bmp")
    for name in ("file/", "file/a.png"):
        with pytest.raises(OutputError) as refused:
            image().save(name)
        assert " -o" not in str(refused.value)


def test_the_docs_example_draws(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(vars(sdgen), "load", lambda model, **_: stand_in.Pipeline())
    for example in re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL):
        exec(example, {})
    assert sorted(os.listdir("hearts")) == [
        *("0001-a-red-heart-7.json", "0001-a-red-heart-7.png"),
        *("0002-a-red-heart-8.json", "0002-a-red-heart-8.png"),
    ]
    shown = capsys.readouterr().out
    assert "hearts/0001-a-red-heart-7.png (64, 64)" in shown
    assert "sdgen 7 float32" in shown


def test_the_docs_name_everything() -> None:
    text = DOCS.read_text("utf-8")
    named = set(re.findall(r"`([a-z_A-Z]+)", text))
    public = {name for name in sdgen.__all__ if not name.startswith("__")} - {"ExitCode"}
    fields = {field.name for kind in (sdgen.Request, sdgen.Image) for field in dataclasses.fields(kind)}
    arguments = set(inspect.signature(loading.load).parameters)
    assert public - {"SdgenError", "Pipeline", "load", "Request"} <= named
    assert fields | arguments <= named
