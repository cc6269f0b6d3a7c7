"""sdgen batch: names in its folder, and what else is there: older, foreign, damaged, moved away."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from pathlib import Path

import filelock
import pytest
import stand_in
from batch_command import files, images, run, statuses
from command import Command
from limits import within

from sdgen.batch.batch_folder import BatchFolder
from sdgen.errors import ExitCode


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def older(path: Path) -> Path:
    """Give an image and its sidecar the name that they had when digests in names were of ten digits."""
    named = path.with_name(f"{path.stem[:-6]}{path.suffix}")
    record = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").unlink()
    named.with_suffix(".json").write_text(json.dumps({**record, "image": named.name}))
    return path.rename(named)


def test_a_folder_of_an_earlier_version_is_gone_on_with_under_its_names(sdgen: Command) -> None:
    paths = [older(Path(path)) for path in run(sdgen).stdout.split()]
    assert statuses(run(sdgen, "--json")) == ["kept", "kept"]
    assert statuses(run(sdgen, "--force", "--json")) == ["drawn", "drawn"]
    assert images() == sorted(path.name for path in paths)
    paths[0].unlink()
    assert sorted(statuses(run(sdgen, "--json"))) == ["drawn", "kept"]
    assert len(files()) == 4


def test_a_failure_of_an_earlier_version_is_reported_again(sdgen: Command) -> None:
    run(sdgen, text="broken\n")
    (failed,) = Path("outputs").glob("*.failed")
    failed.rename(failed.with_name(f"{failed.stem[:-6]}.failed"))
    assert "in an earlier run" in run(sdgen, text="broken\n").stderr


def test_an_image_of_an_earlier_version_without_metadata_is_that_of_one_task(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_digits(monkeypatch, 10)
    text = "--prompt fox --steps 3\n--prompt fox --steps 4\n"
    (path,) = map(Path, run(sdgen, "--no-metadata", text="--prompt fox --steps 3\n").stdout.split())
    path.rename(path.with_name(f"{path.stem[:-6]}{path.suffix}"))
    assert sorted(statuses(run(sdgen, "--no-metadata", "--json", text=text))) == ["drawn", "kept"]
    assert len(images()) == 2


def share_digits(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Have the identities of all tasks begin with the same digits."""
    identity = BatchFolder.identity
    monkeypatch.setattr(
        BatchFolder, "identity", lambda self, task: "0" * count + identity(self, task)[count:]
    )


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_names_that_meet_are_an_error_before_drawing(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    share_digits(monkeypatch, 16)
    text = "--prompt fox --steps 3\n--prompt cat\n--prompt Fox --steps 4\n"
    result = run(sdgen, *more, text=text)
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert "p.txt:1 and p.txt:3 would both be stored as fox-0-0000000000000000.png" in result.stderr
    assert not sdgen.loads
    assert run(sdgen, "--name", "{n}", text=text).exit_code == ExitCode.OK


def test_names_that_differ_in_case_alone_meet(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    share_digits(monkeypatch, 16)
    result = run(sdgen, "--name", "{prompt}", text="Straße\nSTRASSE\n")
    assert result.exit_code == ExitCode.USAGE
    assert "p.txt:1 and p.txt:2" in result.stderr


def test_of_names_that_meet_in_a_stream_the_second_fails(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_digits(monkeypatch, 16)
    text = "--prompt fox --steps 3\n--prompt fox --steps 4\n--prompt cat\n"
    result = sdgen.run("batch", "-", "--model", "mini", "--json", input=text)
    assert result.exit_code == ExitCode.SOME_FAILED
    assert statuses(result) == ["drawn", "failed", "drawn"]
    assert "is another task's image" in result.stderr


def test_entries_that_are_one_image_are_one_file_of_a_dry_run(sdgen: Command) -> None:
    text = '{"prompt": "fox", "eta": 0.0}\n{"prompt": "fox", "eta": -0.0}\n'
    plan = json.loads(run(sdgen, "--dry-run", "--json", "--input-format", "jsonl", text=text).stdout)
    assert len(set(plan["files"])) == len(plan["files"]) == plan["images"] == 1


def test_one_task_s_name_that_is_taken_stops_no_other(sdgen: Command) -> None:
    path = Path(run(sdgen).stdout.split()[0])
    for file in (path, path.with_suffix(".json")):
        file.unlink()
    path.write_text("mine")
    result = run(sdgen, "--json", "--force")
    assert (result.exit_code, sorted(statuses(result))) == (ExitCode.SOME_FAILED, ["drawn", "failed"])
    assert f"{path} is in the way" in result.stderr
    assert path.read_text() == "mine"


def damaged(path: Path, how: str) -> None:
    """Damage an image, its sidecar, or the note of why it failed, so that reading it raises."""
    if how == "deep sidecar":
        path.with_suffix(".json").write_text("[" * 200_000)
    elif how == "deep object":
        path.with_suffix(".json").write_text('{"job":' * 100_000)
    elif how == "sidecar that is not UTF-8":
        path.with_suffix(".json").write_bytes(b"\xff\xfe{")
    elif how == "large sidecar":
        path.with_suffix(".json").write_bytes(b" " * 5_000_000)
    elif how == "deep failure":
        path.unlink()
        path.with_suffix(".failed").write_text("[" * 200_000)
    elif how == "many pixels":
        header = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
        path.write_bytes(header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    elif how == "iCCP":
        data = path.read_bytes()
        path.write_bytes(data[:33] + chunk(b"iCCP", b"") + data[33:])
    elif how == "no IDAT":
        data = path.read_bytes()
        path.write_bytes(data[:33] + chunk(b"IEND", b""))
    elif how == "garbage":
        path.write_bytes(path.read_bytes()[:60] + bytes(400) + chunk(b"IEND", b""))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    "how",
    [
        "deep sidecar",
        "deep object",
        "sidecar that is not UTF-8",
        "large sidecar",
        "deep failure",
        "many pixels",
        "iCCP",
        "no IDAT",
        "garbage",
    ],
)
def test_what_is_damaged_is_drawn_again(sdgen: Command, how: str) -> None:
    path = Path(run(sdgen).stdout.split()[0])
    damaged(path, how)
    result = run(sdgen, "--json", "--verify")
    assert (result.exit_code, sorted(statuses(result))) == (ExitCode.OK, ["drawn", "kept"])
    assert statuses(run(sdgen, "--json", "--verify")) == ["kept", "kept"]


def test_a_pipe_in_the_folder_is_not_waited_for(sdgen: Command) -> None:
    paths = [Path(path) for path in run(sdgen).stdout.split()]
    paths[0].unlink()
    os.mkfifo(paths[0])
    paths[1].with_suffix(".json").unlink()
    os.mkfifo(paths[1].with_suffix(".json"))
    os.mkfifo("outputs/.sdgen-0-json.tmp")
    result = within(20, lambda: run(sdgen, "--verify"))
    assert result.exit_code == ExitCode.NONE_DRAWN
    assert result.stderr.count("is in the way, and is no file; move it") == 4


@pytest.mark.parametrize("fate", ["renamed", "removed", "replaced"])
def test_a_folder_that_goes_ends_the_run_and_none_takes_its_place(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    draw, folder = stand_in.Pipeline.draw, Path("outputs")

    def drawn(self: stand_in.Pipeline, jobs: list[stand_in.Job], *arguments: object) -> object:
        if jobs[0].request.prompt == "a cat":
            shutil.rmtree(folder) if fate == "removed" else folder.rename("moved")
            if fate == "replaced":
                folder.mkdir()
        return draw(self, jobs, *arguments)

    monkeypatch.setattr(stand_in.Pipeline, "low_memory", True)  # Nothing is stored while something is drawn.
    monkeypatch.setattr(stand_in.Pipeline, "draw", drawn)
    result = run(sdgen, text="a fox\na cat\na bird\na dog\n")
    assert result.exit_code == ExitCode.SOME_FAILED
    assert result.stderr.count("error: ") == 1
    assert "error: outputs was moved or removed while images were drawn" in result.stderr
    assert "1 of 4 images drawn" in result.stderr
    assert files() == [] and folder.exists() == (fate == "replaced")
    assert fate == "removed" or len(images("moved")) == 1


def test_a_folder_that_goes_while_an_image_is_claimed_is_not_made_again(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = filelock.FileLock.acquire
    run(sdgen, text="a fox\n")

    def acquired(lock: filelock.FileLock, *arguments: object) -> object:
        Path("outputs").rename("moved")
        return acquire(lock, *arguments)

    monkeypatch.setattr(filelock.FileLock, "acquire", acquired)
    result = run(sdgen)
    assert result.exit_code == ExitCode.SOME_FAILED
    assert "error: outputs was moved or removed" in result.stderr
    assert not Path("outputs").exists()
