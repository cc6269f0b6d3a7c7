"""sdgen batch: the images in its folder, how they are named, kept and drawn again, and those that fail."""

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
from batch_command import files, images, run, statuses, summary
from command import Command
from limits import within
from PIL import Image

from sdgen.batch_folder import BatchFolder
from sdgen.errors import ExitCode


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def test_every_entry_is_drawn_and_its_path_printed(sdgen: Command) -> None:
    result = run(sdgen)
    assert result.exit_code == ExitCode.OK
    assert [Path(path).name[:6] for path in result.stdout.split()] == ["a-fox-", "a-cat-"]
    assert "2 images drawn" in result.stderr
    assert len(files()) == 4


def test_names_do_not_depend_on_what_else_is_drawn(sdgen: Command) -> None:
    run(sdgen)
    few = images()
    run(sdgen, "-o", "more", "--batch-size", "3", text="a bird\na cat\n\na fox\n")
    assert set(few) < set(images("more"))


def test_what_is_there_is_kept_and_needs_no_model(sdgen: Command) -> None:
    run(sdgen)
    before = {name: Path("outputs", name).stat().st_mtime_ns for name in files()}
    result = run(sdgen, "--json")
    assert (result.exit_code, statuses(result)) == (ExitCode.OK, ["kept", "kept"])
    assert len(sdgen.loads) == 1
    assert {name: Path("outputs", name).stat().st_mtime_ns for name in files()} == before


@pytest.mark.parametrize("damage", ["no image", "no sidecar", "torn image", "torn sidecar"])
def test_half_a_pair_is_drawn_again(sdgen: Command, damage: str) -> None:
    first = run(sdgen).stdout
    path = Path(first.split()[0])
    victim = path if "image" in damage else path.with_suffix(".json")
    if damage.startswith("no"):
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:-20])
    result = run(sdgen, "--json")
    assert (result.exit_code, sorted(statuses(result))) == (ExitCode.OK, ["drawn", "kept"])
    Image.open(path).load()
    assert len(files()) == 4


def test_verify_finds_other_pixels(sdgen: Command) -> None:
    path = Path(run(sdgen).stdout.split()[0])
    Image.new("RGB", (64, 64)).save(path)
    assert statuses(run(sdgen, "--json")) == ["kept", "kept"]
    assert sorted(statuses(run(sdgen, "--json", "--verify"))) == ["drawn", "kept"]


def test_force_draws_again(sdgen: Command) -> None:
    run(sdgen)
    assert statuses(run(sdgen, "--force", "--json")) == ["drawn", "drawn"]
    assert len(files()) == 4


def test_another_setting_is_another_image(sdgen: Command) -> None:
    run(sdgen)
    Path("a.safetensors").touch()
    assert statuses(run(sdgen, "--json", "--steps", "3")) == ["drawn", "drawn"]
    assert statuses(run(sdgen, "--json", "--vae", "a.safetensors")) == ["drawn", "drawn"]
    assert len(images()) == 6


def test_without_sidecars_an_image_is_enough(sdgen: Command) -> None:
    run(sdgen, "--no-metadata")
    assert len(files()) == 2
    assert statuses(run(sdgen, "--no-metadata", "--json")) == ["kept", "kept"]


@pytest.mark.parametrize("format", ["webp", "jpeg"])
def test_other_formats_are_kept_too(sdgen: Command, format: str) -> None:
    run(sdgen, "--format", format)
    assert statuses(run(sdgen, "--format", format, "--json")) == ["kept", "kept"]


def test_an_image_in_another_format_has_a_sidecar_of_its_own(sdgen: Command) -> None:
    run(sdgen)
    run(sdgen, "--format", "webp")
    assert len(files()) == 8
    assert statuses(run(sdgen, "--json")) == ["kept", "kept"]


def test_a_name_template_is_completed_by_the_digest(sdgen: Command) -> None:
    run(sdgen, "--name", "{n}-{steps}")
    assert [name[:7] for name in images()] == ["0001-4-", "0002-4-"]
    assert statuses(run(sdgen, "--name", "{n}-{steps}", "--json")) == ["kept", "kept"]


def test_a_name_that_changes_with_time_is_refused(sdgen: Command) -> None:
    result = run(sdgen, "--name", "{date}-{slug}")
    assert (result.exit_code, result.stderr.count("\n")) == (ExitCode.USAGE, 1)
    assert "leave it out" in result.stderr


def test_a_file_of_somebody_else_is_not_overwritten(sdgen: Command) -> None:
    path = Path(run(sdgen, text="a fox\n").stdout.strip())
    record = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**record, "job": "0" * 64}))
    before = path.read_bytes()
    result = run(sdgen, text="a fox\n")
    assert result.exit_code == ExitCode.NONE_DRAWN
    assert "is another task's image" in result.stderr
    assert path.read_bytes() == before


def test_a_failed_image_stops_no_other_and_is_listed_at_the_end(sdgen: Command) -> None:
    result = run(sdgen, "--json", text="a fox\nbroken\na cat\n")
    assert result.exit_code == ExitCode.SOME_FAILED
    assert sorted(statuses(result)) == ["drawn", "drawn", "failed"]
    assert "\nfailed:\n  p.txt:2, seed 0: the image came out black\n" in result.stderr
    assert summary(result.stderr) | {"seconds": 0} == {
        "planned": 3,
        "drawn": 2,
        "kept": 0,
        "failed": 1,
        "invalid": 0,
        "seconds": 0,
        "exit_code": 3,
    }


def test_what_failed_is_drawn_again_only_when_asked(sdgen: Command) -> None:
    run(sdgen, text="a fox\nbroken\n")
    again = run(sdgen, text="a fox\nbroken\n")
    assert again.exit_code == ExitCode.SOME_FAILED
    assert "in an earlier run; --retry-failed draws it again" in again.stderr
    retried = run(sdgen, "--retry-failed", text="a fox\nbroken\n")
    assert "the image came out black\n" in retried.stderr
    assert "earlier run" not in retried.stderr


def test_a_failure_that_is_over_leaves_no_trace(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    run(sdgen, text="broken\n")
    assert [name for name in files() if name.endswith(".failed")]
    with monkeypatch.context() as patch:
        patch.setattr(
            stand_in, "finish", lambda request, size: stand_in.Image(request, stand_in.draw(request), 0.1)
        )
        assert run(sdgen, "--retry-failed", text="broken\n").exit_code == ExitCode.OK
    assert not [name for name in files() if name.endswith(".failed")]


def test_fail_fast_begins_nothing_new(sdgen: Command) -> None:
    text = "broken\n" + "".join(f"fox {n}\n" for n in range(20))
    result = run(sdgen, "--fail-fast", text=text)
    assert result.exit_code in (ExitCode.SOME_FAILED, ExitCode.NONE_DRAWN)
    assert len(images()) < 20


def test_out_of_memory_halves_the_batch_and_goes_on(
    sdgen: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_CACHE_DIR", str(tmp_path / "cache"))
    text = "".join(f"hungry fox {n}\n" for n in range(8))
    result = run(sdgen, "--batch-size", "8", text=text)
    assert result.exit_code == ExitCode.OK
    assert len(images()) == 8
    assert "out of memory with 8 images of 64x64 at once; going on with 4" in result.stderr
    assert "out of memory with 4 images of 64x64 at once; going on with 2" in result.stderr


def test_what_no_memory_is_enough_for_is_said_as_what_it_is(sdgen: Command) -> None:
    result = run(sdgen, text="a fox\nexhaust\nstarve\na cat\n")
    assert result.exit_code == ExitCode.SOME_FAILED
    assert "p.txt:2, seed 0: out of memory; try a smaller --size" in result.stderr
    assert len(images()) == 2


def test_an_unforeseen_error_costs_its_own_image(sdgen: Command) -> None:
    result = run(sdgen, "--batch-size", "4", text="a fox\ncrash\na cat\na bird\n")
    assert result.exit_code == ExitCode.SOME_FAILED
    assert "p.txt:2, seed 0: RuntimeError: this should not happen" in result.stderr
    assert len(images()) == 3


def test_errors_without_end_end_the_run(sdgen: Command) -> None:
    result = run(sdgen, text="".join(f"crash {n}\n" for n in range(20)))
    assert result.exit_code == ExitCode.NONE_DRAWN
    assert result.stderr.count("seed 0: RuntimeError") < 10


def test_several_models_are_loaded_one_after_the_other(sdgen: Command) -> None:
    shutil.copytree(Path(stand_in.sdgen.__file__).parent / "data" / "sd-mini", "other")
    text = "a fox\n--prompt b --model ./other\na cat\n--prompt d --model ./other\n"
    result = run(sdgen, text=text)
    assert result.exit_code == ExitCode.OK
    assert [load["model"] for load in sdgen.loads] == ["mini", "./other"]
    assert len(images()) == 4


@pytest.mark.parametrize("target", ["-", "fox.png"])
def test_one_place_for_a_batch_is_refused(sdgen: Command, target: str) -> None:
    result = run(sdgen, "-o", target)
    assert result.exit_code == ExitCode.USAGE
    assert "give one with -o" in result.stderr


def test_progress_for_programs(sdgen: Command) -> None:
    result = run(sdgen, "--progress", "json")
    events = [json.loads(line) for line in result.stderr.splitlines()]
    progress = [event for event in events if event["event"] == "progress"]
    assert (progress[-1]["done"], progress[-1]["images"], progress[-1]["steps"]) == (2, 2, 8)
    assert [event["event"] for event in events[-2:]] == ["message", "summary"]
    assert events[-2]["text"].startswith("2 images drawn, in ")


def test_quiet_leaves_programs_the_errors(sdgen: Command) -> None:
    result = run(sdgen, "--progress", "json", "--quiet", text="a long fox\nbroken\n")
    assert [json.loads(line)["event"] for line in result.stderr.splitlines()] == ["error"]


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

    def drawn(self: stand_in.Pipeline, jobs: list[stand_in.Job], size: int, jit: bool) -> object:
        if jobs[0].request.prompt == "a cat":
            shutil.rmtree(folder) if fate == "removed" else folder.rename("moved")
            if fate == "replaced":
                folder.mkdir()
        return draw(self, jobs, size, jit)

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
