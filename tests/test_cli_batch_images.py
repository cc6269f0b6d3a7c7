"""sdgen batch: the images in its folder, how they are named, kept and drawn again, and those that fail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import stand_in
from batch_command import files, images, run, statuses, summary
from command import Command
from PIL import Image

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
    shutil.copytree(Path(stand_in.sdgen.__file__).parent / "models/data/sd-mini", "other")
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
