"""sdgen batch as a process: killed, interrupted, without space, in pipes, and several at once."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import stand_in
from batch_command import summary
from command import Command, await_change, await_message, interrupt, interrupted_twice, start
from PIL import Image

from sdgen.errors import ExitCode

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and limits")

CLOSED_PIPE = 141
IMAGES, KILLS = 24, 4


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def batch(sdgen: Command, *arguments: str, **more: object) -> subprocess.Popen[bytes]:
    return sdgen.start("batch", *arguments, "--model", "mini", **more)


def write(name: str, *prompts: str) -> str:
    Path(name).write_text("".join(f"{prompt}\n" for prompt in prompts))
    return name


def visible(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def check_whole(folder: Path) -> dict[str, str]:
    """The pixel digest of each image of a folder, in which every image has its sidecar and is whole."""
    digests = {}
    for file in folder.glob("[!.]*.png"):
        record = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        with Image.open(file) as picture:
            assert hashlib.sha256(picture.convert("RGB").tobytes()).hexdigest() == record["pixels_sha256"]
        assert record["image"] == file.name
        digests[file.name] = record["pixels_sha256"]
    assert visible(folder) == sorted([*digests, *(f"{Path(name).stem}.json" for name in digests)])
    return digests


def lines_of(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    assert process.stdout is not None
    return iter(process.stdout.readline, b"")


def real(model: Path, prompts: str, folder: str, *more: str) -> subprocess.Popen[bytes]:
    settings = ["--model", str(model), "--backend", "tensorflow", "--size", "64x64", "--steps", "2"]
    command = [sys.executable, "-m", "sdgen", "batch", prompts, "-o", folder, "--batch-size", "4"]
    return start([*command, *settings, *more])


@pytest.mark.slow
@pytest.mark.numeric
def test_killed_at_random_moments_and_resumed_it_is_as_if_never_killed(
    sdgen: Command, small_model: Path
) -> None:
    prompts = write(
        "p.txt", *(f"a {colour} heart {n}" for n in range(IMAGES // 2) for colour in ("red", "blue"))
    )
    reference = real(small_model, prompts, "whole")
    assert reference.communicate(timeout=120) and reference.returncode == ExitCode.OK
    expected = check_whole(Path("whole"))
    assert len(expected) == IMAGES
    chance = random.Random(7)
    before = 0
    for _ in range(KILLS):
        process = real(small_model, prompts, "killed", "--json")
        # What an earlier run has drawn comes first; then some images, and a moment between two of them.
        wanted = chance.randrange(5)
        drawn = (line for line in lines_of(process) if json.loads(line)["status"] == "drawn")
        for _, _ in zip(range(wanted + 1), drawn, strict=False):
            pass
        if chance.random() < 0.7:
            await_change(Path("killed"), process)
        process.kill()
        process.communicate(timeout=60)
        there = len(list(Path("killed").glob("[!.]*.json")))
        assert there > before or before == IMAGES
        before = there
    last = real(small_model, prompts, "killed", "--json")
    output, messages = last.communicate(timeout=120)
    images, counts = [*map(json.loads, output.splitlines())], summary(messages)
    assert (last.returncode, counts["drawn"] + counts["kept"]) == (ExitCode.OK, IMAGES)
    assert len({image["path"] for image in images}) == IMAGES
    assert check_whole(Path("killed")) == expected


def test_killed_in_the_middle_of_storing(sdgen: Command) -> None:
    prompts = write("p.txt", *(f"fox {n}" for n in range(300)))
    chance = random.Random(1)
    for _ in range(4):
        process = batch(sdgen, prompts)
        next(lines_of(process))
        for _ in range(chance.randrange(40)):
            await_change(Path("outputs"), process)
        process.kill()
        process.communicate(timeout=60)
    process = batch(sdgen, prompts)
    process.communicate(timeout=120)
    assert process.returncode == ExitCode.OK
    assert len(check_whole(Path("outputs"))) == 300


def test_two_processes_share_a_folder_and_draw_each_image_once(sdgen: Command) -> None:
    prompts = write("p.txt", *(f"slow fox {n}" for n in range(8)))
    both = [batch(sdgen, prompts, "--steps", "1", "--json") for _ in range(2)]
    drawn = 0
    for process in both:
        _, messages = process.communicate(timeout=60)
        assert process.returncode == ExitCode.OK
        counts = summary(messages)
        assert counts["drawn"] + counts["kept"] == 8
        drawn += counts["drawn"]
    assert drawn == 8
    assert len(check_whole(Path("outputs"))) == 8


def test_what_a_killed_process_had_claimed_is_drawn_by_another(sdgen: Command) -> None:
    prompts = write("p.txt", "stuck")
    killed = batch(sdgen, prompts)
    await_message(killed, b"stuck")
    waiting = batch(sdgen, prompts, "--steps", "1")
    other = batch(sdgen, prompts)
    await_message(other, b"waiting for")
    killed.kill()
    for process in (killed, waiting):
        process.communicate(timeout=60)
    assert waiting.returncode == ExitCode.OK
    await_message(other, b"stuck")
    other.kill()
    other.communicate(timeout=60)


def test_shards_share_the_work_and_make_the_whole(sdgen: Command) -> None:
    prompts = write("p.txt", *(f"fox {n}" for n in range(7)))
    for shard in ("1/3", "2/3", "3/3"):
        process = batch(sdgen, prompts, "--shard", shard, "--json")
        _, messages = process.communicate(timeout=60)
        assert process.returncode == ExitCode.OK
        assert summary(messages)["drawn"] in (2, 3)
    assert len(check_whole(Path("outputs"))) == 7


@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
def test_the_first_signal_keeps_what_is_whole_and_says_how_to_go_on(
    sdgen: Command, number: int, expected: ExitCode
) -> None:
    process = batch(sdgen, write("my prompts.txt", "a fox", "held fox", "held cat"))
    next(lines_of(process))
    await_message(process, b"held")
    interrupt(process, number)
    Path("go").touch()
    _, messages = process.communicate(timeout=60)
    assert process.returncode == expected
    assert b"1 of 3 images drawn, stopped with 2 to go" in messages
    assert b"go on with: sdgen batch 'my prompts.txt' --model mini" in messages
    assert b"Traceback" not in messages
    assert len(check_whole(Path("outputs"))) == 1
    assert not list(Path("outputs").glob(".*"))


def test_the_second_signal_leaves_at_once(sdgen: Command) -> None:
    process = batch(sdgen, write("p.txt", "stuck"))
    await_message(process, b"stuck")
    assert interrupted_twice(process) == ExitCode.INTERRUPTED


def test_a_signal_ends_loading_though_the_reader_of_the_summary_has_gone(sdgen: Command) -> None:
    process = batch(sdgen, write("p.txt", "a fox"), "--json", "--device", "slow to load")
    await_message(process, b"held while loading")
    assert process.stdout is not None
    process.stdout.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == ExitCode.INTERRUPTED
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()


def test_a_full_disk_ends_the_run_and_leaves_nothing_torn(sdgen: Command) -> None:
    prompts = write("p.txt", "a fox", "--prompt big --size 1024x1024", "a cat")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, 4_000))

    process = batch(sdgen, prompts, preexec_fn=limit)
    output, messages = process.communicate(timeout=60)
    assert process.returncode == ExitCode.SOME_FAILED
    assert messages.count(b"error: no space is left in outputs") == 1
    assert b"go on with: sdgen batch" in messages
    drawn = check_whole(Path("outputs"))
    assert sorted(f"outputs/{name}" for name in drawn) == sorted(output.decode().split())
    process = batch(sdgen, prompts)
    process.communicate(timeout=60)
    assert process.returncode == ExitCode.OK
    assert len(check_whole(Path("outputs"))) == 3


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root mounts")
def test_a_small_disk_that_fills_up(sdgen: Command, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", small], capture_output=True
    ).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        process = batch(sdgen, "-", "-o", str(small))
        _, messages = process.communicate(b"".join(b"fox %d\n" % n for n in range(40)), timeout=60)
        assert process.returncode == ExitCode.SOME_FAILED
        assert b"no space is left" in messages
        assert 0 < len(check_whole(small)) < 40
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_folder_that_goes_away_midway(sdgen: Command) -> None:
    process = batch(sdgen, write("p.txt", "a fox", "held fox", "held cat"))
    next(lines_of(process))
    folder = Path("outputs")
    await_message(process, b"held")
    folder.rename("moved")
    folder.touch()
    Path("go").touch()
    _, messages = process.communicate(timeout=60)
    assert process.returncode == ExitCode.SOME_FAILED
    assert b"error: " in messages and b"outputs" in messages and b"Traceback" not in messages
    assert len(check_whole(Path("moved"))) == 1
    folder.unlink()
    Path("moved").rename(folder)
    process = batch(sdgen, "p.txt", "--steps", "1")
    process.communicate(timeout=60)
    assert process.returncode == ExitCode.OK


def obey_permissions() -> None:
    """Make a process that is about to start heed the modes of files even where root runs it (Linux)."""
    capbset_drop, cap_dac_override = 24, 1
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(capbset_drop, cap_dac_override, 0, 0, 0) != 0:
        raise OSError("root keeps its rights here")


def test_a_folder_made_read_only_midway(sdgen: Command) -> None:
    prompts = write("p.txt", "a fox", "held fox", "held cat")
    try:
        process = batch(sdgen, prompts, preexec_fn=obey_permissions)
    except subprocess.SubprocessError:
        pytest.skip("root may write anywhere")
    next(lines_of(process))
    folder = Path("outputs")
    await_message(process, b"held")
    folder.chmod(0o555)
    Path("go").touch()
    try:
        _, messages = process.communicate(timeout=60)
    finally:
        folder.chmod(0o755)
    assert process.returncode == ExitCode.SOME_FAILED
    assert b"error: outputs cannot be written" in messages
    assert b"go on with: sdgen batch p.txt" in messages
    assert len(check_whole(folder)) == 1
    process = batch(sdgen, prompts)
    process.communicate(timeout=60)
    assert process.returncode == ExitCode.OK
    assert len(check_whole(folder)) == 3


def test_drawing_begins_before_the_stream_ends(sdgen: Command) -> None:
    process = batch(sdgen, "-")
    assert process.stdin is not None
    for prompt in (b"a fox\n", b"a cat\n"):
        process.stdin.write(prompt)
        process.stdin.flush()
        assert next(lines_of(process)).startswith(b"outputs/" + prompt[:1])
        assert process.poll() is None
    process.stdin.close()
    process.stdin = None
    process.communicate(timeout=60)
    assert process.returncode == ExitCode.OK


def test_a_signal_ends_waiting_for_a_stream(sdgen: Command) -> None:
    process = batch(sdgen, "-")
    assert process.stdin is not None
    process.stdin.write(b"a fox\n")
    process.stdin.flush()
    next(lines_of(process))
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == ExitCode.INTERRUPTED
    process.communicate()


def shell(script: str) -> tuple[int, str, str]:
    """A script in which $SDGEN is the command; its status and what it writes."""
    command = f"{shlex.join([sys.executable, stand_in.__file__])}"
    process = start(["bash", "-c", f'set -o pipefail; SDGEN() {{ {command} "$@" --model mini; }}; {script}'])
    output, messages = process.communicate(timeout=60)
    return process.returncode, output.decode(), messages.decode()


def test_prompts_through_a_pipe(sdgen: Command) -> None:
    status, output, _ = shell("printf 'a fox\\na cat\\n' | SDGEN batch -")
    assert status == 0
    assert [Path(line).name[:5] for line in output.split()] == ["a-fox", "a-cat"]


@pytest.mark.skipif(shutil.which("jq") is None, reason="no jq here")
def test_json_lines_to_jq(sdgen: Command) -> None:
    write("p.txt", "a fox", "broken")
    status, output, _ = shell("SDGEN batch p.txt --json | jq -r '.path // .status'")
    assert status == ExitCode.SOME_FAILED
    assert sorted(line.startswith("outputs/") for line in output.split()) == [False, True]


def test_head_ends_the_run_quietly(sdgen: Command) -> None:
    write("p.txt", "a fox", "held", "--prompt slow --steps 1000", "a cat")
    status, output, messages = shell(
        "SDGEN batch p.txt --quiet --batch-size 1 | { head -1; exec <&-; touch go; }"
    )
    assert (status, messages) == (CLOSED_PIPE, "held\n")
    assert output.startswith("outputs/a-fox")
    assert len(check_whole(Path("outputs"))) < 4


@pytest.mark.parametrize(
    ("prompts", "arguments", "expected"),
    [
        (["a fox"], [], ExitCode.OK),
        (["broken"], [], ExitCode.NONE_DRAWN),
        (["--steps 0 --prompt x"], [], ExitCode.USAGE),
        ([], [], ExitCode.USAGE),
        (["a fox", "broken"], [], ExitCode.SOME_FAILED),
        (["a fox", "--steps 0 --prompt x"], ["--skip-invalid"], ExitCode.SOME_FAILED),
        (["--prompt x --model sd2.1-base"], [], ExitCode.UNAVAILABLE),
    ],
)
def test_exit_status(sdgen: Command, prompts: list[str], arguments: list[str], expected: ExitCode) -> None:
    process = batch(sdgen, write("p.txt", *prompts), *arguments)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == expected
    assert b"Traceback" not in messages


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_an_unwritable_stdout_is_reported(sdgen: Command) -> None:
    with open("/dev/full", "wb") as full:
        process = batch(sdgen, write("p.txt", "a fox", "a cat"), "--json", stdout=full)
        _, messages = process.communicate(timeout=60)
    assert process.returncode in (ExitCode.NONE_DRAWN, ExitCode.SOME_FAILED)
    assert messages.count(b"error: stdout cannot be written: No space left on device") == 1
