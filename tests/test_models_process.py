"""``sdgen models pull`` as real processes: killed, interrupted, two at once, exit statuses."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fault_server as faults
import pytest
from fault_server import FaultServer, Places

pytest_plugins = ("model_fixtures",)

DATA = random.Random(3).randbytes(2_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
PATH = "/weights.h5"
SOURCE = str(Path(__file__).parent.parent / "src")


def start(*arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([SOURCE, os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "sdgen", "models", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs, and so what they start, with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run(*arguments: str) -> tuple[int, str, str]:
    process = start(*arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
def good(server: FaultServer, places: Places) -> FaultServer:
    server.files[PATH] = DATA
    places.row(
        "toy", f'{{name = "weights.h5", sha256 = "{SHA256}", size = 2000000, urls = ["{server.url + PATH}"]}}'
    )
    return server


@pytest.fixture
def go() -> Iterator[threading.Event]:
    """Lets the server send what it holds; set at the end in any case."""
    event = threading.Event()
    yield event
    event.set()


def wait_for_part(places: Places, size: int) -> Path:
    part = places.models / "toy" / "web" / "weights.h5.part"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if part.exists() and part.stat().st_size >= size:
            return part
        time.sleep(0.01)
    raise AssertionError("the download did not begin")


def test_pull_prints_the_path_on_stdout_alone(good: FaultServer, places: Places) -> None:
    status, out, err = run("pull", "toy")
    assert (status, out) == (0, f"{places.models / 'toy' / 'web' / 'weights.h5'}\n")
    assert err == "fetching weights.h5, 2 MB\n"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_download_goes_on_where_it_was(
    how: signal.Signals, good: FaultServer, places: Places, go: threading.Event
) -> None:
    good.always(PATH, faults.held(400_000, go))
    process = start("pull", "toy")
    part = wait_for_part(places, 200_000)
    process.send_signal(how)
    process.communicate(timeout=30)
    assert process.returncode == (130 if how is signal.SIGINT else -how)
    here = part.stat().st_size
    assert part.read_bytes() == DATA[:here]
    assert run("path", "toy")[0] == 4

    good.behave()
    status, out, err = run("pull", "toy")
    assert status == 0
    assert err.startswith("resuming weights.h5")
    assert Path(out.strip()).read_bytes() == DATA
    assert good.asked(PATH)[-1]["Range"] == f"bytes={here}-"
    assert not part.exists()


def test_two_pulls_fetch_once(good: FaultServer, places: Places, go: threading.Event) -> None:
    good.always(PATH, faults.held(400_000, go))
    first = start("pull", "toy")
    wait_for_part(places, 1)
    second = start("pull", "toy")
    assert second.stderr is not None
    assert "another sdgen command is busy with toy; waiting for it" in second.stderr.readline()
    go.set()
    outputs = [process.communicate(timeout=60) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert outputs[0][0] == outputs[1][0]
    assert len(good.asked(PATH)) == 1


def test_the_lock_of_a_killed_command_holds_nobody_up(
    good: FaultServer, places: Places, go: threading.Event
) -> None:
    good.plan(PATH, faults.held(400_000, go))
    killed = start("pull", "toy")
    wait_for_part(places, 1)
    killed.kill()
    killed.communicate(timeout=30)
    status, _, err = run("pull", "toy")
    assert status == 0
    assert "waiting" not in err


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (faults.status(404), "does not have the file (status 404)"),
        (faults.status(500), "is in trouble (status 500)"),
        (faults.drop(0), "dropped the connection"),
        (faults.wrong_bytes, "sent other bytes than expected"),
        (faults.too_short, "instead of 2000000"),
    ],
)
def test_a_failed_pull_is_one_sentence_and_status_4(
    fault: faults.Fault, words: str, good: FaultServer
) -> None:
    good.always(PATH, fault)
    status, out, err = run("pull", "--quiet", "toy")
    assert (status, out) == (4, "")
    assert err.startswith("error: toy: weights.h5 could not be fetched: 127.0.0.1:")
    assert words in err
    assert err.count("\n") == 1


def test_an_unknown_model_is_status_4(places: Places) -> None:
    status, _, err = run("pull", "sd2.1-bas")
    assert status == 4
    assert "did you mean sd2.1-base?" in err


def test_a_wrong_catalogue_is_status_2(places: Places) -> None:
    file = places.catalogue('[toy]\ntask = "text-to-image"\nsteps = 0\npath = "x"\n')
    status, _, err = run("list")
    assert status == 2
    assert err == f"error: {file}: the row 'toy': steps must be a whole number from 1 to 1000, not 0\n"
