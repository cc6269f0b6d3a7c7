"""sdgen batch, with a pipeline that stands in for the real one."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_in
from click.testing import Result
from command import Command
from PIL import Image
from safetensors.numpy import save_file

from sdgen.cli import entries
from sdgen.errors import ExitCode
from sdgen.models import catalogue


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def run(sdgen: Command, *arguments: str, text: str | None = "a fox\na cat\n", **more: Any) -> Result:
    if text is not None:
        Path("p.txt").write_text(text, encoding="utf-8")
    return sdgen.run("batch", "p.txt", *arguments, "--model", "mini", **more)


def records(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def statuses(result: Result) -> list[str]:
    return [record["status"] for record in records(result)[:-1]]


def files(folder: str = "outputs") -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def images(folder: str = "outputs") -> list[str]:
    return [name for name in files(folder) if name.endswith(".png")]


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


def test_all_that_is_wrong_is_said_before_anything_is_loaded(sdgen: Command) -> None:
    Path("q.jsonl").write_text('{"prompt": "x", "steps": 0}\n{"prompt": 3}\n', encoding="utf-8")
    text = "a fox\n--prompt x --stpes 3\n--prompt x --guidance 500\n"
    result = run(sdgen, "q.jsonl", text=text)
    assert result.exit_code == ExitCode.USAGE
    for place in ("p.txt:2", "p.txt:3", "q.jsonl:1", "q.jsonl:2"):
        assert f"error: {place}: " in result.stderr
    assert "4 of the entries cannot be drawn; nothing was drawn; --skip-invalid" in result.stderr
    assert not sdgen.loads
    assert not files()


def test_skip_invalid_draws_the_rest_and_counts(sdgen: Command) -> None:
    result = run(sdgen, "--skip-invalid", "--json", text="a fox\n--steps 0 --prompt x\n")
    assert result.exit_code == ExitCode.SOME_FAILED
    assert [record["status"] for record in records(result)] == ["invalid", "drawn", "summary"]
    assert records(result)[-1]["invalid"] == 1
    assert "1 of 2 images drawn, 1 invalid" in result.stderr


def test_when_all_is_invalid_no_model_is_loaded(sdgen: Command) -> None:
    result = run(sdgen, "--skip-invalid", text="--steps 0 --prompt x\n")
    assert result.exit_code == ExitCode.USAGE
    assert not sdgen.loads


def test_what_the_model_cannot_draw_is_said_before_it_draws(sdgen: Command) -> None:
    text = "a fox\n--prompt x --width 104\n--prompt y --width 104\n"
    result = run(sdgen, text=text)
    assert result.exit_code == ExitCode.USAGE
    assert "p.txt:2: width 104" in result.stderr and "p.txt:3: width 104" in result.stderr
    assert not images()
    assert run(sdgen, "--skip-invalid", text=text).exit_code == ExitCode.SOME_FAILED
    assert len(images()) == 1


@pytest.mark.parametrize("arguments", [[], ["--skip-invalid"]])
def test_problems_of_a_stream_come_as_it_does(sdgen: Command, arguments: list[str]) -> None:
    result = sdgen.run(
        "batch", "-", "--model", "mini", *arguments, input="a fox\n--steps 0 --prompt x\na cat\n"
    )
    assert result.exit_code == ExitCode.SOME_FAILED
    assert "error: stdin:2: " in result.stderr
    assert len(images()) == (2 if arguments else 1)


def test_all_problems_that_have_come_of_a_stream_are_said(sdgen: Command) -> None:
    lines = ["a fox", "--steps 0 --prompt x", "a cat", *["--size 3x3 --prompt y"] * 40, "a dog"]
    result = sdgen.run("batch", "-", "--model", "mini", "--json", input="\n".join(lines))
    assert (result.exit_code, len(images())) == (ExitCode.SOME_FAILED, 1)
    *invalid, summary = (record for record in records(result) if record["status"] != "drawn")
    assert [record["error"].split(": ")[0] for record in invalid] == [
        f"stdin:{line}" for line in (2, *range(4, 44))
    ]
    assert (summary["invalid"], summary["planned"]) == (41, 44)


def test_a_stream_that_stays_open_does_not_hold_up_the_end(sdgen: Command) -> None:
    process = sdgen.start("batch", "-", "--model", "mini")
    assert process.stdin is not None
    process.stdin.write(b"--steps 0 --prompt x\n--steps 0 --prompt y\n")
    process.stdin.flush()
    assert process.wait(timeout=30) == ExitCode.USAGE
    assert process.stderr is not None
    assert process.stderr.read().count(b"error: stdin:") == 2
    process.communicate()


def test_more_images_than_fit_the_memory_are_refused(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "MOST_TASKS", 10)
    assert run(sdgen, "--seeds", "1-5", "--dry-run").exit_code == ExitCode.OK
    result = run(sdgen, "--seeds", "1-6", "--dry-run")
    assert result.exit_code == ExitCode.USAGE
    assert "p.txt asks for more than 10 images; split it, take a --shard of it" in result.stderr
    streamed = sdgen.run("batch", "-", "--seeds", "1-6", "--model", "mini", input="a fox\na cat\n")
    assert (streamed.exit_code, len(images())) == (ExitCode.OK, 12)


def test_an_empty_file_is_an_error(sdgen: Command) -> None:
    assert run(sdgen, text="# nothing\n").exit_code == ExitCode.USAGE


def test_expansion(sdgen: Command) -> None:
    result = run(
        sdgen, "--seeds", "1,5-6", "--sweep", "steps=2,3", "--dynamic", "combinatorial", "--json",
        text="a {red|green} fox\n",
    )  # fmt: skip
    drawn = records(result)[:-1]
    assert len(drawn) == 12
    assert {(record["prompt"], record["seed"], record["steps"]) for record in drawn} == {
        (f"a {colour} fox", seed, steps)
        for colour in ("red", "green")
        for seed in (1, 5, 6)
        for steps in (2, 3)
    }


def test_equal_entries_are_one_image(sdgen: Command) -> None:
    result = run(sdgen, text="a fox\na fox\n")
    assert len(result.stdout.split()) == 1
    assert "1 entries repeat others" in result.stderr


def test_shards_are_disjoint_and_complete(sdgen: Command) -> None:
    text = "".join(f"fox {n}\n" for n in range(7))
    names = [
        images(f"s{i}") for i in range(1, 4) if run(sdgen, "--shard", f"{i}/3", "-o", f"s{i}", text=text)
    ]
    run(sdgen, "-o", "all", text=text)
    assert sorted(name for shard in names for name in shard) == images("all")


def test_a_shard_without_an_entry_has_nothing_to_do(sdgen: Command) -> None:
    result = run(sdgen, "--shard", "3/3")
    assert (result.exit_code, result.stdout) == (ExitCode.OK, "")
    assert "0 images drawn" in result.stderr


@pytest.mark.parametrize("shard", ["0/2", "3/2", "x", "1/", "-1/2"])
def test_a_wrong_shard(sdgen: Command, shard: str) -> None:
    assert run(sdgen, "--shard", shard).exit_code == ExitCode.USAGE


def test_a_failed_image_stops_no_other_and_is_listed_at_the_end(sdgen: Command) -> None:
    result = run(sdgen, "--json", text="a fox\nbroken\na cat\n")
    assert result.exit_code == ExitCode.SOME_FAILED
    assert sorted(statuses(result)) == ["drawn", "drawn", "failed"]
    assert result.stderr.endswith("failed:\n  p.txt:2, seed 0: the image came out black\n")
    assert records(result)[-1] | {"seconds": 0} == {
        "status": "summary",
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


def test_a_model_that_is_not_here_is_found_missing_before_any_is_loaded(sdgen: Command) -> None:
    result = run(sdgen, text="a fox\n--prompt x --model sd2.1-base\n")
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert not sdgen.loads


def test_a_dry_run_says_what_would_be_drawn(sdgen: Command) -> None:
    run(sdgen, text="a fox\n")
    result = run(
        sdgen, "--dry-run", "--batch-size", "2", text="a fox\na cat\na bird\n--prompt x --size 96x64\n"
    )
    assert result.exit_code == ExitCode.OK
    assert "4 requests, 1 there already, 3 to draw" in result.stdout
    assert "2 batches of up to 2, 2 programs to compile" in result.stdout
    planned = json.loads(run(sdgen, "--dry-run", "--json", text=None).stdout)
    assert len(sdgen.loads) == 1
    run(sdgen, text=None)
    assert set(planned["files"]) == {f"outputs/{name}" for name in images() if "fox" not in name}


def test_a_dry_run_looks_each_model_up_a_few_times_however_many_images_there_are(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []
    monkeypatch.setattr(catalogue, "load", lambda load=catalogue.load: looked_up.append(1) or load())
    assert run(sdgen, "--dry-run", "-n", "100").exit_code == ExitCode.OK
    assert len(looked_up) < 5


@pytest.mark.parametrize(
    ("prompt", "arguments", "programs"),
    [
        ("red " * 90, [], 2),
        ("a fox BREAK a cat", [], 2),
        ("red " * 90, ["--guidance", "1"], 2),
        ("red " * 90, ["--prompt-syntax", "plain"], 1),
        ("red " * 15, [], 1),
        ("a fox", ["--negative", "red " * 90], 1),
        ("((", [], 1),
    ],
)
def test_a_dry_run_counts_programs_for_long_prompts(
    sdgen: Command, prompt: str, arguments: list[str], programs: int
) -> None:
    result = run(sdgen, "--dry-run", "--json", *arguments, text=f"a fox\n{prompt}\n")
    planned = json.loads(result.stdout)
    assert (planned["programs"], planned["images"]) == (programs, 1 if prompt == "a fox" else 2)


def test_a_dry_run_counts_the_vectors_of_textual_inversions(sdgen: Command) -> None:
    save_file({"emb_params": np.ones((60, 768), np.float32)}, "style.safetensors")
    arguments = ["--dry-run", "--embedding", "style.safetensors"]
    result = run(sdgen, *arguments, text="style\nstyle style\nstyle style style\n")
    assert "3 batches of up to 1 (on a CPU; more on an accelerator), 3 programs to compile" in result.stdout
    assert "mini 256x256, prompts of 2 x 75 tokens: 1 images" in result.stdout


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
    assert events[-1]["event"] == "message"
    assert events[-1]["text"].startswith("2 images drawn, in ")


def test_quiet_leaves_programs_the_errors(sdgen: Command) -> None:
    result = run(sdgen, "--progress", "json", "--quiet", text="a long fox\nbroken\n")
    assert [json.loads(line)["event"] for line in result.stderr.splitlines()] == ["error"]


def test_ten_thousand_lines_of_rubbish(sdgen: Command, tmp_path: Path) -> None:
    chance = random.Random(4)
    values: list[Any] = [
        float("nan"), 10**400, -1, "", "../../x", "\u0000", [[[]]], {"a": {}}, None, True, "x" * 5000,
        "steps", "/etc/passwd", "..\\..", 1e308, "512x512", "😀",
    ]  # fmt: skip
    names = ["prompt", "seed", "steps", "guidance", "sampler", "width", "model", "name", "size", "", "\ufeff"]
    lines = []
    for _ in range(10_000):
        fields = {chance.choice(names): chance.choice(values) for _ in range(chance.randrange(4))}
        line = json.dumps(fields).encode() if chance.random() < 0.7 else chance.randbytes(30)
        lines.append(line.replace(b"\n", b"") + chance.choice([b"\n", b"\r\n"]))
    Path("p.jsonl").write_bytes(b"\xef\xbb\xbf" + b"".join(lines) + b"x" * 2**20)
    before = sorted(tmp_path.rglob("*"))
    result = sdgen.run("batch", "p.jsonl", "--model", "mini")
    assert result.exit_code == ExitCode.USAGE
    assert "Traceback" not in result.stderr
    assert not sdgen.loads
    result = sdgen.run("batch", "p.jsonl", "--model", "mini", "--skip-invalid", "--dry-run", "--json")
    assert "Traceback" not in result.stderr
    if result.exit_code == ExitCode.OK:
        planned = json.loads(result.stdout.splitlines()[-1])
        assert {os.path.dirname(os.path.normpath(path)) for path in planned["files"]} <= {"outputs"}
    assert sorted(tmp_path.rglob("*")) == before
