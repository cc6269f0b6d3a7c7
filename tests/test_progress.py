"""What a run says of its progress: phases, an estimate without compiling, a bar that fits."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import termios
from pathlib import Path

import pytest
from command import Command

from sdgen.cli.terminal import progress
from sdgen.cli.terminal.pace import Pace
from sdgen.cli.terminal.progress import Display, JsonDisplay


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def draw(pace: Pace, clock: Clock, steps: int, each: float, first: float = 0.0, images: int = 1) -> None:
    """A batch whose first step takes ``first`` seconds more than the others."""
    for step in range(1, steps + 1):
        clock.now += each * images + (first if step == 1 else 0.0)
        pace.advance(step, steps, images)


def test_the_estimate_leaves_compiling_out() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.plan(100, 4)
    clock.now += 300
    pace.advance(1, 25, 1)
    assert pace.seconds_left() is None
    clock.now += 2
    pace.advance(2, 25, 1)
    assert pace.seconds_left() == pytest.approx(98 * 2)


def test_a_second_program_is_left_out_and_decoding_is_not() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.plan(100, 4)
    draw(pace, clock, 25, 2.0, first=300.0)
    clock.now += 3
    pace.finish(25)
    draw(pace, clock, 25, 2.0, first=200.0)
    clock.now += 3
    pace.finish(25)
    draw(pace, clock, 25, 2.0)
    clock.now += 3
    pace.finish(25)
    assert pace.seconds_left() == pytest.approx(25 * 2 + 3)


def test_pictures_of_one_step_have_an_estimate() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.plan(4, 4)
    for _ in range(2):
        draw(pace, clock, 1, 5.0)
        pace.finish(1)
    assert pace.seconds_left() == pytest.approx(10)


def test_a_batch_counts_each_of_its_images() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.plan(80, 8)
    draw(pace, clock, 10, 1.0, first=60.0, images=4)
    assert (pace.done, pace.decoding) == (40, True)
    assert pace.seconds_left() == pytest.approx(40)


def test_progress_never_goes_back() -> None:
    pace = Pace(Clock())
    pace.plan(100, 4)
    seen = []
    for step in range(1, 26):
        pace.advance(step, 25, 1)
    for step in (1, 2, 3):  # The image before is still being decoded.
        pace.advance(step, 25, 1)
        seen.append(pace.done)
    pace.finish(25)
    seen.append(pace.done)
    pace.advance(1, 25, 1)  # The batch was too large and is drawn again.
    seen.append(pace.done)
    assert seen == [26, 27, 28, 28, 28]


def test_a_batch_of_unequal_steps_ends_with_all_of_them() -> None:
    pace = Pace(Clock())
    pace.plan(30, 2)
    pace.advance(20, 20, 2)
    assert pace.done == 30
    pace.finish(20)
    pace.finish(10)
    assert (pace.done, pace.steps) == (30, 30)


def test_what_is_there_already_is_no_work() -> None:
    pace = Pace(Clock())
    pace.plan(50, 2)
    pace.skip(25)
    assert (pace.steps, pace.finished, pace.drawn) == (25, 1, 0)


def test_a_stream_has_no_estimate() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.plan(None, 0)
    draw(pace, clock, 4, 1.0)
    assert (pace.done, pace.seconds_left()) == (4, None)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (61, "1:01"), (4630, "1:17:10")]
)
def test_times_are_shown_as_clocks_do(seconds: float, shown: str) -> None:
    assert progress._clock(seconds) == shown


def on_a_terminal(sdgen: Command, columns: int, *arguments: str) -> list[str]:
    """What the stand-in writes to a terminal, one frame or line each."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = sdgen.start(*arguments, "--model", "mini", stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # Nobody has the other end any more.
            break
        if not data:
            break
        shown += data
    os.close(ours)
    process.communicate(timeout=60)
    assert process.returncode == 0
    return [frame for frame in re.split(r"[\r\n]+", shown.decode()) if frame.strip()]


@pytest.mark.parametrize("columns", [80, 60])
def test_the_bar_is_readable_on_a_small_terminal(sdgen: Command, columns: int) -> None:
    frames = on_a_terminal(sdgen, columns, "slow fox", "slow cat", "--seed", "7", "--steps", "8")
    assert max(map(len, frames)) <= columns
    bars = [frame.split("|")[1] for frame in frames if frame.count("|") == 2]
    assert bars
    assert min(map(len, bars)) >= columns - 60


def test_phases_are_named_in_their_order(sdgen: Command) -> None:
    frames = on_a_terminal(sdgen, 80, "slow fox", "--seed", "7")
    first = [frame.split()[0].strip(",") for frame in frames]
    phases = list(
        dict.fromkeys(word for word in first if word in ("loading", "compiling", "drawing", "decoding"))
    )
    assert phases == ["loading", "compiling", "drawing", "decoding"]
    assert re.match(r"loading mini, \d+ s", frames[0])
    assert frames[-1].startswith("1 image drawn")


def test_programs_are_told_the_phase(capsys: pytest.CaptureFixture[str]) -> None:
    display = JsonDisplay()
    display.loading("mini")
    display.start(2, 1)
    for step in (1, 2):
        display.advance(step, 2, 1)
    display.finish_image(2)
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    phases = [event["phase"] for event in events if event["event"] == "progress"]
    assert phases == ["loading", "compiling", "drawing", "decoding", "drawing"]
    assert events[0] == {"event": "message", "text": "loading mini"}


def test_a_wait_is_told_where_there_is_no_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LOOKS", 0.001)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    told: list[str] = []
    monkeypatch.setattr(Display, "say", lambda self, text: told.append(text))
    display = Display()
    display.start(4, 1)
    assert display._ended is not None
    for _ in range(30_000):  # The thread of the display speaks by itself.
        if told:
            break
        display._ended.wait(0.001)
    display.stop()
    assert re.fullmatch(r"compiling, \d+ s so far", told[0])


def test_quiet_starts_no_thread(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(quiet=True)
    display.loading("mini")
    display.start(4, 1)
    display.advance(1, 4, 1)
    assert (display._ended, display._bar) == (None, None)
    assert capsys.readouterr().err == ""
