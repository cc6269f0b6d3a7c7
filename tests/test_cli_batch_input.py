"""sdgen batch: what it makes of prompts files and streams, and what it plans to draw of them."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_command import files, images, records, run, summary
from command import Command
from safetensors.numpy import save_file

from sdgen.cli import batch_tasks
from sdgen.errors import ExitCode
from sdgen.models import catalogue


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


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
    assert [record["status"] for record in records(result)] == ["invalid", "drawn"]
    assert summary(result.stderr)["invalid"] == 1
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
    invalid = [record for record in records(result) if record["status"] != "drawn"]
    assert [record["error"].split(": ")[0] for record in invalid] == [
        f"stdin:{line}" for line in (2, *range(4, 44))
    ]
    counts = summary(result.stderr)
    assert (counts["invalid"], counts["planned"]) == (41, 44)


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
    monkeypatch.setattr(batch_tasks, "MOST_TASKS", 10)
    assert run(sdgen, "--seeds", "1-5", "--dry-run").exit_code == ExitCode.OK
    result = run(sdgen, "--seeds", "1-6", "--dry-run")
    assert result.exit_code == ExitCode.USAGE
    assert "p.txt asks for more than 10 images; split it, take a --shard of it" in result.stderr
    streamed = sdgen.run("batch", "-", "--seeds", "1-6", "--model", "mini", input="a fox\na cat\n")
    assert (streamed.exit_code, len(images())) == (ExitCode.OK, 12)


@pytest.mark.parametrize("file", ["p.txt", "-"])
def test_an_entry_with_several_faults_counts_once(sdgen: Command, file: str) -> None:
    text = "--steps 0 --width 3 --height 5 --prompt x\n--steps 0 --prompt y\n"
    Path("p.txt").write_text(text, encoding="utf-8")
    result = sdgen.run("batch", file, "--model", "mini", "--skip-invalid", input=text)
    assert result.stderr.count(":1: ") == 3
    assert (
        "2 of the entries cannot be drawn" if file != "-" else "0 of 2 images drawn, 2 invalid"
    ) in result.stderr


def test_the_first_wrong_entries_are_told_and_the_others_counted(sdgen: Command) -> None:
    text = "--steps 0 --prompt x\n" * 22_500
    result = run(sdgen, text=text)
    assert result.exit_code == ExitCode.USAGE
    assert result.stderr.count("error: p.txt:") == 20
    assert "error: and 22,480 more; --json lists them all\n" in result.stderr
    assert len(records(run(sdgen, "--json", text=text))) == 22_500


def test_wrong_entries_of_a_stream_are_told_in_the_same_way(sdgen: Command) -> None:
    text = "--steps 0 --prompt x\n" * 30 + "a fox\n"
    result = sdgen.run("batch", "-", "--model", "mini", "--skip-invalid", input=text)
    assert (result.exit_code, len(images())) == (ExitCode.SOME_FAILED, 1)
    assert result.stderr.count("error: stdin:") == 20
    assert "error: and 10 more; --json lists them all\n" in result.stderr


def test_a_file_of_nothing_but_wrong_entries_is_not_read_to_its_end(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_tasks, "MOST_REJECTED", 50)
    result = run(sdgen, "--skip-invalid", text="--steps 0 --prompt x\n" * 60)
    assert result.exit_code == ExitCode.USAGE
    assert "p.txt has 50 entries that cannot be drawn, and was not read further" in result.stderr


def test_an_empty_file_is_an_error(sdgen: Command) -> None:
    assert run(sdgen, text="# nothing\n").exit_code == ExitCode.USAGE


@pytest.mark.parametrize("text", ["", "\n# nothing\n"])
@pytest.mark.parametrize("arguments", [[], ["--dry-run"], ["--skip-invalid"]])
def test_a_stream_without_a_prompt_is_an_error(sdgen: Command, text: str, arguments: list[str]) -> None:
    result = sdgen.run("batch", "-", "--model", "mini", *arguments, input=text)
    assert (result.exit_code, result.stdout) == (ExitCode.USAGE, "")
    assert result.stderr == "error: there is no prompt in stdin\n"
    assert not sdgen.loads


def test_programs_get_the_summary_of_a_stream_without_a_prompt(sdgen: Command) -> None:
    result = sdgen.run("batch", "-", "--model", "mini", "--json", input="")
    assert result.exit_code == ExitCode.USAGE
    assert result.stdout == ""
    counts = summary(result.stderr)
    assert (counts["planned"], counts["exit_code"]) == (0, 2)


def test_stdout_has_images_alone(sdgen: Command) -> None:
    result = sdgen.run("batch", "-", "--model", "mini", "--json", input="a fox\na cat\n")
    assert [os.path.exists(record["path"]) for record in records(result)] == [True, True]


def test_the_summary_is_an_event_among_others(sdgen: Command) -> None:
    result = run(sdgen, "--progress", "json")
    last = json.loads(result.stderr.splitlines()[-1])
    assert (last["event"], last["drawn"], last["exit_code"]) == ("summary", 2, 0)


def test_a_prompt_of_a_stream_is_enough(sdgen: Command) -> None:
    assert sdgen.run("batch", "-", "--model", "mini", input="a fox\n\n# no more\n").exit_code == ExitCode.OK
    other_shard = sdgen.run("batch", "-", "--model", "mini", "--shard", "2/2", input="a fox\n")
    assert (other_shard.exit_code, len(images())) == (ExitCode.OK, 1)
    assert "0 images drawn" in other_shard.stderr


def test_expansion(sdgen: Command) -> None:
    result = run(
        sdgen, "--seeds", "1,5-6", "--sweep", "steps=2,3", "--dynamic", "combinatorial", "--json",
        text="a {red|green} fox\n",
    )  # fmt: skip
    drawn = records(result)
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
    assert "1 entry repeats another and is drawn once" in result.stderr


def test_random_seeds_differ_and_are_the_same_when_the_batch_goes_on(sdgen: Command) -> None:
    text = "--prompt x --seed -1\n" * 2 + "--prompt y --seed -1\n"
    drawn = records(run(sdgen, "--json", text=text))
    assert len({record["seed"] for record in drawn}) == 3
    again = records(run(sdgen, "--json", text=text))
    assert [(record["status"], record["seed"]) for record in again] == [
        ("kept", record["seed"]) for record in drawn
    ]


def test_a_random_seed_of_the_command_line_is_each_entrys_own(sdgen: Command) -> None:
    drawn = records(run(sdgen, "--json", "--seed", "-1", text="x\ny\n--prompt z --seed 3\n"))
    assert len({record["seed"] for record in drawn} - {0, 3}) == 2


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
    counts = []
    for number in ("1", "100"):
        looked_up.clear()
        assert run(sdgen, "--dry-run", "-n", number).exit_code == ExitCode.OK
        counts.append(len(looked_up))
    assert counts[0] == counts[1] < 10


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
    assert "mini 256x256, prompts of 2 x 75 tokens: 1 image\n" in result.stdout


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
