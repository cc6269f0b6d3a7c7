"""An image and its sidecar, whatever step of storing them is the last."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faults import FAULTS, at_every_step
from fuzz.mutations import altered, damaged
from limits import within
from PIL import Image as Picture
from stand_in import DETAILS, draw

from sdgen.batch.batch_folder import BatchFolder
from sdgen.batch.tasks import Task
from sdgen.errors import ImageError, OutputError
from sdgen.files import whole_files
from sdgen.images import image_and_sidecar
from sdgen.images.image_files import Output
from sdgen.images.metadata import pixels_sha256
from sdgen.pipeline.pipeline import Image
from sdgen.request import Request

pytestmark = [pytest.mark.forks, pytest.mark.skipif(sys.platform == "win32", reason="forks")]

REQUEST = Request(
    prompt="fox", seed=7, steps=4, sampler="ddim", guidance=5, width=64, height=64, model="mini"
)
TASK = Task(REQUEST)
OLD, NEW = draw(REQUEST), 255 - draw(REQUEST)


def image(pixels: np.ndarray) -> Image:
    return Image(REQUEST, pixels, 0.5, None, (), dict(DETAILS))


def store(folder: Path, **options: object) -> BatchFolder:
    made = BatchFolder(folder, **options)  # type: ignore[arg-type]
    made.prepare(1, 1)
    return made


def pixels(path: Path) -> np.ndarray:
    with Picture.open(path) as picture:
        return np.asarray(picture)


def state(path: Path) -> tuple[str, str]:
    """Whose pixels the image has and of whose its sidecar tells: "old", "new" or "" where there is none."""
    names = {pixels_sha256(OLD): "old", pixels_sha256(NEW): "new"}
    beside = path.with_suffix(".json")
    drawn = names[pixels_sha256(pixels(path))] if path.exists() else ""
    told = names[json.loads(beside.read_text())["pixels_sha256"]] if beside.exists() else ""
    return drawn, told


def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        sys.audit("os.link", source, target, -1, -1)
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)


def no_exclusive_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    no_links(monkeypatch)
    monkeypatch.setattr(whole_files, "_renameat2", lambda: None)


FILE_SYSTEMS = {"with links": lambda monkeypatch: None, "renaming": no_links, "bare": no_exclusive_rename}


@pytest.fixture(params=FILE_SYSTEMS)
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    FILE_SYSTEMS[request.param](monkeypatch)


def check_every_step(
    folder: Path, fault: str, before: bool, save: Callable[[], object]
) -> set[tuple[str, str]]:
    """The states that ``save`` leaves behind at any step; the next run has to put each of them right."""
    states = set()
    kept = folder.parent / "before"
    if before:
        store(kept).save_task(TASK, image(OLD))
    path = folder / store(kept).path(TASK, REQUEST).name
    shutil.copytree(kept, folder, dirs_exist_ok=True)
    for _ in at_every_step(folder, fault, save):
        found = state(path)
        assert found != ("", "new") and found != ("", "old")
        assert not before or (found[0] and found[1])
        if fault == "full disk":
            assert found != ("new", "")
        states.add(found)
        again = store(folder)
        assert state(path) in {("", ""), ("old", "old"), ("new", "new"), ("new", "")}
        if again.find(TASK, REQUEST) is None:
            assert again.failure(TASK, REQUEST) is None
            again.save_task(TASK, image(NEW))
        assert again.find(TASK, REQUEST) is not None
        assert state(path) in {("old", "old"), ("new", "new")}
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
    return states


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_drawn_again_takes_the_old_pair_s_place_at_no_moment_without_one(
    tmp_path: Path, fault: str, file_system: None
) -> None:
    folder = tmp_path / "out"
    states = check_every_step(
        folder, fault, True, lambda: BatchFolder(folder, force=True).save_task(TASK, image(NEW))
    )
    assert states == {("old", "old"), ("new", "old"), ("new", "new")}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_first_pair_is_whole_or_goes_on_where_it_was(tmp_path: Path, fault: str, file_system: None) -> None:
    folder = tmp_path / "out"
    states = check_every_step(folder, fault, False, lambda: BatchFolder(folder).save_task(TASK, image(NEW)))
    assert {("", ""), ("new", "new")} <= states


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_overwritten_is_there_until_the_new_one_is(
    tmp_path: Path, fault: str, file_system: None
) -> None:
    def save(pixels: np.ndarray) -> None:
        output = Output(tmp_path / "out", file_name="fox.png", overwrite=True)
        output.prepare(1, 1)
        output.save(image(pixels))

    path = tmp_path / "out" / "fox.png"
    save(OLD)
    for _ in at_every_step(tmp_path / "out", fault, lambda: save(NEW)):
        assert all(state(path))
        Output(tmp_path / "out").prepare(1, 1)
        assert state(path) in {("old", "old"), ("new", "new")}
        shutil.rmtree(tmp_path / "out")
        save(OLD)


def test_no_empty_file_stands_under_the_final_name(tmp_path: Path, file_system: None) -> None:
    """At each step of naming a file, its name has all of it or is free."""
    whole = b"the whole of it"

    def write() -> None:
        whole_files.write(tmp_path / "a", whole)

    for _ in at_every_step(tmp_path, "kill", write):
        assert not (tmp_path / "a").exists() or (tmp_path / "a").read_bytes() == whole
        (tmp_path / "a").unlink(missing_ok=True)


def test_placing_never_replaces(tmp_path: Path, file_system: None) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(OutputError, match="is in the way"):
        whole_files.write(tmp_path / "a", b"other")
    assert (tmp_path / "a").read_text() == "mine"


def test_a_pair_that_another_process_completes_is_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace
    folder = store(tmp_path)
    path = folder.save_task(TASK, image(OLD)).path

    def meanwhile(source: Path, target: Path) -> None:
        if target.suffix == ".json" and source.exists():
            monkeypatch.setattr(os, "replace", replace)
            image_and_sidecar.complete(tmp_path)
            assert not source.exists()
        replace(source, target)

    monkeypatch.setattr(os, "replace", meanwhile)
    again = store(tmp_path, force=True)
    again.save_task(TASK, image(NEW))
    assert state(path) == ("new", "new")


@pytest.mark.parametrize("tidied", [False, True])
def test_a_first_pair_that_another_process_completes_is_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tidied: bool
) -> None:
    link = os.link

    def meanwhile(source: Path, target: Path) -> None:
        if target.suffix == ".json":
            link(source, target)
            if tidied:
                source.unlink()
        link(source, target)

    monkeypatch.setattr(os, "link", meanwhile)
    saved = store(tmp_path).save_task(TASK, image(NEW))
    assert state(saved.path) == ("new", "new")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("kind", ["folder", "another's"])
def test_a_note_of_a_failure_that_is_not_the_task_s_stays(tmp_path: Path, kind: str) -> None:
    folder = store(tmp_path)
    note = folder.path(TASK, REQUEST).with_suffix(".failed")
    if kind == "folder":
        note.mkdir()
    else:
        note.write_text('{"job": "mine"}')
    folder.record_failure(TASK, REQUEST, ImageError("black"))
    folder.save_task(TASK, image(NEW))
    assert note.is_dir() if kind == "folder" else note.read_text() == '{"job": "mine"}'


def foreign(path: Path, kind: str) -> None:
    """Somebody's file under the name of a task's image, or beside it."""
    if kind == "text":
        path.write_text("mine")
    elif kind == "empty":
        path.touch()
    elif kind == "picture":
        Picture.new("RGB", (64, 64)).save(path)
    elif kind == "another request's":
        Output(path.parent, file_name="other.png", metadata=True).save(
            Image(REQUEST.replace(seed=8), OLD, 0.5, None, (), dict(DETAILS))
        )
        (path.parent / "other.png").rename(path)
    elif kind == "sidecar":
        path.with_suffix(".json").write_text('{"prompt": "mine"}')
    elif kind == "damaged sidecar":
        path.with_suffix(".json").write_text("mine")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "sidecar that is a pipe":
        os.mkfifo(path.with_suffix(".json"))
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to nothing":
        path.symlink_to("nowhere")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        "text",
        "empty",
        "picture",
        "another request's",
        "sidecar",
        "damaged sidecar",
        "pipe",
        "sidecar that is a pipe",
        "folder",
        "link to nothing",
    ],
)
def test_what_is_not_the_task_s_is_never_overwritten(tmp_path: Path, kind: str, force: bool) -> None:
    folder = store(tmp_path, force=force)
    path = folder.path(TASK, REQUEST)
    foreign(path, kind)

    def contents() -> dict[str, object]:
        return {
            file.name: file.read_bytes() if file.is_file() else os.lstat(file) for file in tmp_path.iterdir()
        }

    before = contents()

    def draw_it() -> None:
        assert folder.find(TASK, REQUEST) is None
        assert folder.failure(TASK, REQUEST) is not None
        with pytest.raises(ImageError, match=r"in the way|another task's"):
            folder.save_task(TASK, image(NEW))

    within(10, draw_it)
    assert contents() == before


@pytest.mark.parametrize("format", ["png", "webp", "jpeg"])
def test_an_image_whose_sidecar_a_kill_prevented_is_known_by_its_text(tmp_path: Path, format: str) -> None:
    folder = store(tmp_path, format=format)
    saved = folder.save_task(TASK, image(OLD))
    assert saved.sidecar is not None
    saved.sidecar.unlink()
    again = store(tmp_path, format=format)
    assert again.find(TASK, REQUEST) is None
    assert again.failure(TASK, REQUEST) is None
    again.save_task(TASK, image(NEW))
    assert again.find(TASK, REQUEST) == saved


def test_without_metadata_force_and_the_size_decide(tmp_path: Path) -> None:
    path = store(tmp_path, metadata=False).save_task(TASK, image(OLD)).path
    assert store(tmp_path).failure(TASK, REQUEST) is not None
    forced = store(tmp_path, metadata=False, force=True)
    assert forced.failure(TASK, REQUEST) is None
    forced.save_task(TASK, image(NEW))
    assert np.array_equal(pixels(path), NEW)
    Picture.new("RGB", (8, 8)).save(path)
    assert store(tmp_path, metadata=False, force=True).failure(TASK, REQUEST) is not None


@pytest.mark.parametrize("format", ["png", "webp", "jpeg"])
@pytest.mark.parametrize("victim", ["image", "sidecar", "text of the sidecar", "waiting sidecar"])
def test_damage_by_chance_is_drawn_again_or_left_alone(tmp_path: Path, victim: str, format: str) -> None:
    options = {"format": format, "verify": True}
    saved = store(tmp_path, **options).save_task(TASK, image(OLD))
    assert saved.sidecar is not None
    drawn, told = saved.path.read_bytes(), saved.sidecar.read_bytes()
    for seed in range(60):
        rng = random.Random(seed)
        image_now = damaged(rng, drawn) if victim == "image" else drawn
        sidecar_now = damaged(rng, told) if victim == "sidecar" else told
        if victim.startswith(("text", "waiting")):
            sidecar_now = json.dumps(altered(rng, json.loads(told))).encode()
        saved.path.write_bytes(image_now)
        saved.sidecar.write_bytes(sidecar_now)
        if victim.startswith("waiting"):
            saved.sidecar.rename(tmp_path / ".sdgen-0-json.tmp")
        folder = store(tmp_path, **options)
        if folder.find(TASK, REQUEST) is not None:
            continue
        if folder.failure(TASK, REQUEST) is None:
            folder.save_task(TASK, image(NEW))
            assert folder.find(TASK, REQUEST) == saved
        else:
            assert saved.path.read_bytes() == image_now
            assert not saved.sidecar.exists() or saved.sidecar.read_bytes() == sidecar_now
