"""Files are whole, never overwritten, and in pairs, whatever happens while they are written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command import await_change, start
from PIL import Image as Picture
from stand_in import DETAILS, draw

from sdgen.errors import InputError, OutputError
from sdgen.images.image_files import Output, is_file_name
from sdgen.images.metadata import pixels_sha256
from sdgen.pipeline.pipeline import Image
from sdgen.request import Request

SAVER = """
import sys
from pathlib import Path
import test_output
from sdgen.images.image_files import Output
folder, template, count = sys.argv[1:]
output = Output(Path(folder), template)
output.prepare(1, 1)
print("ready", flush=True)
for seed in range(int(count)):
    print(output.save(test_output.image(seed=seed)).path, flush=True)
"""


def image(prompt: str = "a red fox", **changes: Any) -> Image:
    request = Request(prompt=prompt, seed=7, steps=4, sampler="ddim", guidance=5, width=64, height=64)
    request = request.replace(**{"model": "mini", **changes})
    return Image(request, draw(request), 0.5, None, (), dict(DETAILS))


def ready(output: Output) -> Output:
    output.prepare(1, 1000)
    return output


def saver(folder: Path, template: str, count: int) -> subprocess.Popen[bytes]:
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n{SAVER}"
    return start([sys.executable, "-c", script, str(folder), template, str(count)])


def leftovers(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


def test_an_image_and_its_sidecar_are_written(tmp_path: Path) -> None:
    saved = ready(Output(tmp_path / "new" / "outputs")).save(image())
    assert saved.path.name == "0001-a-red-fox-7.png"
    assert saved.sidecar == saved.path.with_suffix(".json")
    record = json.loads(saved.sidecar.read_text(encoding="utf-8"))
    assert record["image"] == saved.path.name
    assert record["pixels_sha256"] == pixels_sha256(draw(image().request))
    assert sorted(os.listdir(saved.path.parent)) == ["0001-a-red-fox-7.json", "0001-a-red-fox-7.png"]


def test_files_get_the_permissions_that_others_get(tmp_path: Path) -> None:
    saved = ready(Output(tmp_path)).save(image())
    (tmp_path / "other").touch()
    assert saved.path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_numbers_go_on_from_the_highest_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "0041-a-cat-3.webp").touch()
    (tmp_path / "notes.txt").touch()
    output = ready(Output(tmp_path))
    assert [output.save(image()).path.name[:4] for _ in range(2)] == ["0042", "0043"]


def test_numbers_go_on_past_four_digits(tmp_path: Path) -> None:
    (tmp_path / "9999-a-cat-3.png").touch()
    assert ready(Output(tmp_path)).save(image()).path.name == "10000-a-red-fox-7.png"


def test_a_name_without_a_number_is_made_unique(tmp_path: Path) -> None:
    output = ready(Output(tmp_path, "{slug}"))
    names = [output.save(image(prompt)).path.name for prompt in ("fox", "fox", "cat", "fox")]
    assert names == ["fox.png", "fox-2.png", "cat.png", "fox-3.png"]


@pytest.mark.parametrize("taken", ["fox.png", "fox.json", "FOX.webp"])
def test_a_pair_never_shares_a_name_with_another_file(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("mine")
    assert ready(Output(tmp_path, "{slug}")).save(image("fox")).path.name == "fox-2.png"
    assert (tmp_path / taken).read_text() == "mine"


@pytest.mark.parametrize("taken", ["fox.png", "fox.json"])
def test_one_file_that_is_there_is_refused_before_drawing(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("mine")
    with pytest.raises(OutputError, match="already there"):
        Output(tmp_path, file_name="fox.png").prepare(1, 1000)
    assert (tmp_path / taken).read_text() == "mine"


def test_one_file_that_appears_while_drawing_is_kept(tmp_path: Path) -> None:
    output = ready(Output(tmp_path, file_name="fox.png"))
    (tmp_path / "fox.png").write_text("mine")
    with pytest.raises(OutputError, match="already there"):
        output.save(image())
    assert (tmp_path / "fox.png").read_text() == "mine"
    assert os.listdir(tmp_path) == ["fox.png"]


def test_without_metadata_there_is_no_sidecar(tmp_path: Path) -> None:
    saved = ready(Output(tmp_path, metadata=False)).save(image())
    assert saved.sidecar is None
    assert os.listdir(tmp_path) == [saved.path.name]


@pytest.mark.parametrize(("format", "ending"), [("png", ".png"), ("webp", ".webp"), ("jpeg", ".jpg")])
def test_formats(tmp_path: Path, format: str, ending: str) -> None:
    saved = ready(Output(tmp_path, format=format)).save(image())
    assert saved.path.suffix == ending
    with Picture.open(saved.path) as picture:
        assert (picture.format, picture.size) == (format.upper(), (64, 64))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("fox.png", True),
        ("a/fox.JPG", True),
        ("a.webp", True),
        ("out", False),
        ("out/", False),
        ("a.png/", False),
    ],
)
def test_what_names_a_file(target: str, expected: bool) -> None:
    assert is_file_name(target) is expected


def test_an_existing_folder_is_a_folder_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "fox.png").mkdir()
    assert not is_file_name(str(tmp_path / "fox.png"))


def test_an_ending_that_is_no_image_format_is_refused() -> None:
    with pytest.raises(InputError, match=r"\.bmp is not an image format"):
        is_file_name("fox.bmp")


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outputs").touch()
    with pytest.raises(OutputError, match="is a file, not a folder"):
        Output(tmp_path / "outputs").prepare(1, 1000)


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        Output(tmp_path / "file" / "outputs").prepare(1, 1000)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="cannot be written"):
        Output(tmp_path).prepare(1, 1000)


def test_too_little_space_is_found_before_drawing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="free some space"):
        Output(tmp_path).prepare(10, 10**15)


def test_a_name_too_long_for_the_file_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="too long"):
        Output(tmp_path, file_name="x" * 300 + ".png").prepare(1, 1000)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_goes_is_reported(tmp_path: Path, replaced: bool) -> None:
    output = ready(Output(tmp_path / "outputs"))
    (tmp_path / "outputs").rename(tmp_path / "moved")
    if replaced:
        (tmp_path / "outputs").mkdir()
    with pytest.raises(OutputError, match="outputs was moved or removed while images were drawn"):
        output.save(image())
    assert (tmp_path / "outputs").exists() == replaced
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_pair_is_whole_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, number: int
) -> None:
    calls = 0
    link = os.link

    def sometimes(source: Any, target: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(number, os.strerror(number), os.fspath(source))
        link(source, target)

    output = ready(Output(tmp_path))
    monkeypatch.setattr(os, "link", sometimes)
    with pytest.raises(OutputError):
        output.save(image())
    assert os.listdir(tmp_path) == []
    assert output.save(image()).path.name == "0002-a-red-fox-7.png"


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_output
from pathlib import Path
from sdgen.errors import OutputError
from sdgen.images.image_files import Output
output = Output(Path({str(tmp_path)!r}))
{limited}
try:
    output.save(test_output.image())
except OutputError as error:
    print(error)
"""
    answer, complaint = start([sys.executable, "-c", script]).communicate(timeout=60)
    assert b"no space is left" in answer, complaint
    assert os.listdir(tmp_path) == []


def test_file_systems_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Any, target: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    output = ready(Output(tmp_path, "{slug}"))
    assert [output.save(image("fox")).path.name for _ in range(2)] == ["fox.png", "fox-2.png"]
    assert sorted(os.listdir(tmp_path)) == ["fox-2.json", "fox-2.png", "fox.json", "fox.png"]


def test_what_a_killed_process_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    old, new = tmp_path / ".sdgen-0001.tmp", tmp_path / ".sdgen-0002.tmp"
    for file in (old, new):
        file.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    Output(tmp_path).prepare(1, 1000)
    assert leftovers(tmp_path) == [new.name]


def test_a_reserved_number_is_left_to_its_owner(tmp_path: Path) -> None:
    (tmp_path / ".sdgen-0001.tmp").touch()
    assert ready(Output(tmp_path)).save(image()).path.name.startswith("0002-")


def test_a_reservation_is_given_back_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed = []
    unlink = Path.unlink

    def noted(self: Path, missing_ok: bool = False) -> None:
        removed.append(self.name)
        unlink(self, missing_ok)

    output = ready(Output(tmp_path))
    monkeypatch.setattr(Path, "unlink", noted)
    output.save(image())
    assert removed == [".sdgen-0001-json.tmp", ".sdgen-0001.tmp"]


@pytest.mark.parametrize("template", ["{n}-{slug}-{seed}", "{slug}"])
def test_processes_share_a_folder(tmp_path: Path, template: str) -> None:
    processes = [saver(tmp_path, template, 8) for _ in range(4)]
    for process in processes:
        _, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint
    images = sorted(tmp_path.glob("*.png"))
    assert len(images) == 32
    assert {path.with_suffix(".json") for path in images} == set(tmp_path.glob("*.json"))
    if "{n}" in template:
        assert len({path.name[:4] for path in images}) == 32
    assert not leftovers(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_process_leaves_no_torn_file(tmp_path: Path) -> None:
    for round in range(4):
        process = saver(tmp_path, "{n}-{slug}", 10_000)
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(3 * round):
            await_change(tmp_path, process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    images = {path.stem for path in tmp_path.glob("*.png")}
    sidecars = {path.stem for path in tmp_path.glob("*.json")}
    assert images
    assert sidecars <= images
    for path in tmp_path.glob("*.png"):
        Picture.open(path).load()
    for path in tmp_path.glob("*.json"):
        with Picture.open(path.with_suffix(".png")) as picture:
            digest = hashlib.sha256(picture.tobytes()).hexdigest()
        assert json.loads(path.read_text())["pixels_sha256"] == digest


def test_dates_and_seeds_of_earlier_names_are_no_numbers(tmp_path: Path) -> None:
    for template in ("{date}-{slug}-{seed}", "{seed}-{slug}-{steps}"):
        output = ready(Output(tmp_path, template))
        output.save(image("a fox 3", seed=123_456))
    (tmp_path / "2027-a-fox.png").touch()
    output = ready(Output(tmp_path))
    assert [output.save(image(seed=seed)).path.name[:5] for seed in range(3)] == ["0001-", "0002-", "0003-"]
    (tmp_path / "0001-a-red-fox-0.png").rename(tmp_path / "0050-a-red-fox-0.png")
    assert output.save(image()).path.name.startswith("0051-")
