"""sdgen as a process: signals, pipes, streams and exit statuses."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import types
from pathlib import Path

import pytest
import stand_in
from command import Command, await_message, interrupt, interrupted_twice, start
from PIL import Image

from sdgen.__main__ import main
from sdgen.errors import ExitCode

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and terminals")

CLOSED_PIPE = 141


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def images(sdgen: Command) -> list[Path]:
    return sorted((sdgen.folder / "outputs").glob("*.png"))


def first_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a fox", "--model", "mini"], ExitCode.OK),
        (["broken", "--model", "mini"], ExitCode.NONE_DRAWN),
        (["a fox", "--steps", "0"], ExitCode.USAGE),
        ([], ExitCode.USAGE),
        (["a fox", "broken", "--model", "mini"], ExitCode.SOME_FAILED),
        (["a fox", "--model", "sd2.1-base"], ExitCode.UNAVAILABLE),
    ],
)
def test_exit_status(sdgen: Command, arguments: list[str], expected: ExitCode) -> None:
    process = sdgen.start(*arguments)
    process.communicate(timeout=60)
    assert process.returncode == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
def test_the_first_signal_keeps_what_is_whole(sdgen: Command, number: int, expected: ExitCode) -> None:
    process = sdgen.start("a fox", "held", "held", "--model", "mini", "--seed", "7")
    assert first_line(process) == b"outputs/0001-a-fox-7.png\n"
    await_message(process, b"held")
    interrupt(process, number)
    Path("go").touch()
    rest, messages = process.communicate(timeout=60)
    assert process.returncode == expected
    assert (rest, len(images(sdgen))) == (b"", 1)
    assert b"1 of 3 images drawn, stopped with 2 to go" in messages
    assert b"Traceback" not in messages


def test_the_second_signal_leaves_at_once(sdgen: Command) -> None:
    process = sdgen.start("stuck", "--model", "mini")
    await_message(process, b"stuck")
    assert interrupted_twice(process) == ExitCode.INTERRUPTED


def test_a_signal_before_drawing_leaves_at_once(sdgen: Command) -> None:
    process = sdgen.start("a fox", "--model", "mini", "--device", "slow to load")
    await_message(process, b"held while loading")
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=40)
    assert process.returncode == ExitCode.INTERRUPTED
    assert b"0 of 1 image drawn" in messages


def test_a_signal_while_the_command_is_imported_shows_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(types.ModuleType):
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "sdgen.cli.root", Interrupted("sdgen.cli.root"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == ExitCode.INTERRUPTED


def test_a_reader_that_leaves_ends_the_run_quietly(sdgen: Command) -> None:
    process = sdgen.start("a fox", "held", "slow", "--steps", "1000", "--model", "mini", "--quiet")
    first_line(process)
    await_message(process, b"held")
    assert process.stdout is not None
    process.stdout.close()
    Path("go").touch()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == CLOSED_PIPE
    assert len(images(sdgen)) == 2


def test_a_reader_that_leaves_ends_other_commands_quietly_too(sdgen: Command) -> None:
    sdgen.draw("a fox", "-o", "fox.png")
    ours, theirs = os.pipe()
    os.close(ours)
    process = sdgen.start("show", "fox.png", stdout=theirs)
    os.close(theirs)
    _, messages = process.communicate(timeout=60)
    assert (process.returncode, messages) == (CLOSED_PIPE, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, file names are Unicode")
def test_a_path_goes_out_as_its_bytes_whatever_the_locale(
    sdgen: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdgen.draw("a fox", "-o", "fox.png")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")
    process = sdgen.start("grid", "fox.png", "-o", os.fsdecode(b"sheet\xff.png"))
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (ExitCode.OK, b"sheet\xff.png\n")


def test_image_bytes_and_nothing_else_reach_stdout(sdgen: Command) -> None:
    process = sdgen.start("a noisy fox", "--model", "mini", "-o", "-")
    data, messages = process.communicate(timeout=60)
    picture = Image.open(io.BytesIO(data))
    picture.load()
    assert data.startswith(b"\x89PNG") and data.endswith(b"IEND\xaeB`\x82")
    assert b"printed by Python" in messages
    assert b"printed by C" in messages


def test_log_lines_of_libraries_are_dropped_and_shown_with_verbose(sdgen: Command) -> None:
    _, messages = sdgen.start("a noisy fox", "--model", "mini").communicate(timeout=60)
    assert b"port.cc" not in messages
    _, messages = sdgen.start("a noisy fox", "--model", "mini", "--verbose").communicate(timeout=60)
    assert b"port.cc" in messages


def test_the_last_words_of_a_crash_are_shown(sdgen: Command) -> None:
    process = sdgen.start("abort", "--model", "mini")
    _, messages = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGABRT
    assert b"F0000 fatal" in messages


def test_a_prompt_from_a_pipe(sdgen: Command) -> None:
    process = sdgen.start("-", "--model", "mini", "--seed", "7")
    paths, _ = process.communicate("ein Fuchs für dich".encode(), timeout=60)
    assert paths == b"outputs/0001-ein-fuchs-fur-dich-7.png\n"


def test_json_lines_come_as_images_finish(sdgen: Command) -> None:
    process = sdgen.start("a fox", "held", "--model", "mini", "--json")
    assert json.loads(first_line(process))["prompt"] == "a fox"
    assert process.poll() is None
    Path("go").touch()
    process.communicate(timeout=60)


def on_terminal(sdgen: Command, *arguments: str) -> tuple[int, bytes]:
    """The exit status of a run whose streams are a terminal, and what the terminal shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = sdgen.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            shown += os.read(ours, 4096)
        except OSError:
            break
    os.close(ours)
    return process.wait(timeout=60), shown


def test_image_bytes_are_refused_on_a_terminal(sdgen: Command) -> None:
    status, shown = on_terminal(sdgen, "a fox", "--model", "mini", "-o", "-")
    assert status == ExitCode.USAGE
    assert b"stdout is a terminal" in shown
    assert b"PNG" not in shown


def test_a_terminal_has_a_bar(sdgen: Command) -> None:
    status, shown = on_terminal(sdgen, "slow", "--model", "mini", "--seed", "7", "-n", "2")
    assert status == ExitCode.OK
    assert b"2/8" in shown
    assert b"1/2 images" in shown
    # Each path begins a line of its own, where the bar was.
    assert shown.count(b"\routputs/") == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [[], ["-o", "-"], ["--json"]])
def test_an_unwritable_stdout_is_reported(sdgen: Command, arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        process = sdgen.start("a fox", "--model", "mini", *arguments, stdout=full)
        _, messages = process.communicate(timeout=60)
    assert process.returncode == ExitCode.NONE_DRAWN
    assert b"error: stdout cannot be written: No space left on device" in messages
    assert b"Traceback" not in messages


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize(("prompt", "expected"), [("a fox", ExitCode.OK), ("broken", ExitCode.NONE_DRAWN)])
def test_messages_that_nobody_takes_change_nothing(sdgen: Command, prompt: str, expected: ExitCode) -> None:
    with open("/dev/full", "wb") as full:
        process = sdgen.start(prompt, "--model", "mini", stderr=full)
        process.communicate(timeout=60)
    assert process.returncode == expected
    assert len(images(sdgen)) == (expected == ExitCode.OK)


@pytest.mark.parametrize("command", [["models", "list"], ["samplers"], ["models", "show", "mini"]])
def test_a_list_whose_reader_leaves_ends_with_141(sdgen: Command, command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start([sys.executable, "-m", "sdgen", *command], stdout=writer)
    os.close(writer)
    _, messages = process.communicate(timeout=60)
    assert (process.returncode, messages) == (141, b"")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm(sdgen: Command, closed: str) -> None:
    command = [sys.executable, stand_in.__file__, "a noisy fox", "--model", "mini"]
    process = start(["sh", "-c", f"{shlex.join(command)} {closed}"])
    process.communicate(timeout=60)
    assert process.returncode == ExitCode.OK
    (image,) = images(sdgen)
    Image.open(image).load()


FORKS = r"""
import os, runpy, sys, threading
fork = os.fork

def counted():
    os.write(2, b"forked beside %d threads\n" % (threading.active_count() - 1))
    return fork()

os.fork = counted
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    "arguments",
    [["a fox"], ["batch", "p.txt"], ["batch", "-"], ["replay", "fox.json"]],
    ids=["draw", "batch", "stream", "replay"],
)
def test_no_thread_is_alive_at_a_fork(sdgen: Command, arguments: list[str]) -> None:
    sdgen.draw("a fox", "-o", "fox.png")
    Path("p.txt").write_text("a cat\n")
    process = start([sys.executable, "-c", FORKS, stand_in.__file__, *arguments, "--model", "mini"])
    _, messages = process.communicate(b"a bird\n", timeout=60)
    assert (process.returncode, messages.count(b"forked beside")) == (ExitCode.OK, 1)
    assert b"forked beside 0 threads" in messages
