"""``sdgen serve`` as a process of its own: where it listens, who may use it, how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from command import Command
from serving import PATIENCE

from sdgen.errors import ExitCode

STAND_IN = Path(__file__).with_name("stand_in.py")
TOKEN = "0123456789abcdef-token"
CALL = "/v1/images/generations"


class Process:
    """The command, serving with the stand-in engine; ``url`` is what it printed."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith("SDGEN_")}
        own |= {name: str(folder / name) for name in ("SDGEN_CONFIG_DIR", "SDGEN_STATE_DIR")}
        self._process = subprocess.Popen(
            [sys.executable, str(STAND_IN), "serve", "--model", "mini", "--port", "0", *arguments],
            cwd=folder,
            env={**own, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        self._errors = self._process.stderr
        self.url = self._process.stdout.readline().strip()
        self.errors: list[str] = []

    def ready(self) -> None:
        """Waits until the model is loaded."""
        self.says("mini is loaded")

    def says(self, text: str) -> None:
        """Waits for a line on stderr."""
        for line in self._errors:
            self.errors.append(line)
            if text in line:
                return
        raise AssertionError(f"{text!r} is not in {self.errors}")

    def post(self, path: str = CALL, headers: Any = None, **values: Any) -> requests.Response:
        values = {"size": "64x64", **values}
        return requests.post(self.url + path, json=values, headers=headers, timeout=PATIENCE)

    def later(self, **values: Any) -> list[requests.Response]:
        """A call in a thread; the answer is in the list once the thread has ended."""
        self.answers: list[requests.Response] = []
        self.thread = threading.Thread(target=lambda: self.answers.append(self.post(**values)), daemon=True)
        self.thread.start()
        return self.answers

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    def ended(self) -> int:
        return self._process.wait(PATIENCE)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def serving(folder: Path, *arguments: str, **environment: str) -> Iterator[Process]:
    process = Process(folder, *arguments, **environment)
    try:
        yield process
    finally:
        process.kill()


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def test_it_says_where_it_listens_and_ends_well_when_told_to(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with serving(tmp_path) as process:
            process.ready()
            assert process.url.startswith("http://127.0.0.1:")
            assert requests.get(f"{process.url}/ready", timeout=PATIENCE).json() == {"status": "ready"}
            assert process.post(prompt="fox").status_code == 200
            process.signal(number)
            assert process.ended() == ExitCode.OK


def test_what_is_in_flight_is_finished_after_the_signal(tmp_path: Path) -> None:
    with serving(tmp_path) as process:
        process.ready()
        answers = process.later(prompt="held")
        process.says("held")
        process.signal()
        with pytest.raises(requests.ConnectionError):
            while True:  # Until it listens no more.
                requests.get(f"{process.url}/health", timeout=PATIENCE)
        (tmp_path / "go").touch()
        process.thread.join(PATIENCE)
        assert [answer.status_code for answer in answers] == [200]
        assert process.ended() == ExitCode.OK


def test_what_is_not_finished_in_time_is_answered(tmp_path: Path) -> None:
    with serving(tmp_path, "--grace", "0.1") as process:
        process.ready()
        answers = process.later(prompt="held")
        process.says("held")
        process.signal()
        process.thread.join(PATIENCE)
        assert [answer.status_code for answer in answers] == [503]
        assert "stopping" in answers[0].json()["error"]["message"]
        assert int(answers[0].headers["retry-after"]) > 0
        assert process.ended() == ExitCode.OK


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, "--grace", "600") as process:
        process.ready()
        process.later(prompt="held")
        process.says("held")
        process.signal()
        with pytest.raises(requests.ConnectionError):
            while True:
                requests.get(f"{process.url}/health", timeout=PATIENCE)
        process.signal()
        process.ended()


def test_it_answers_while_the_model_is_loaded_and_is_not_ready(tmp_path: Path) -> None:
    with serving(tmp_path, "--device", "slow to load", "--grace", "0") as process:
        process.says("held while loading")
        assert requests.get(f"{process.url}/health", timeout=PATIENCE).status_code == 200
        assert requests.get(f"{process.url}/ready", timeout=PATIENCE).status_code == 503
        process.signal()
        assert process.ended() == ExitCode.OK


def test_with_a_token_nobody_is_served_who_does_not_show_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    for options, environment in ((("--token-file", "token"), {}), ((), {"SDGEN_TOKEN": TOKEN})):
        with serving(tmp_path, *options, **environment) as process:
            process.ready()
            assert process.post(prompt="fox").status_code == 401
            assert (
                process.post(prompt="fox", headers={"Authorization": f"Bearer {TOKEN}x"}).status_code == 401
            )
            assert process.post(prompt="fox", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
            assert requests.get(f"{process.url}/health", timeout=PATIENCE).status_code == 200
            assert requests.get(f"{process.url}/metrics", timeout=PATIENCE).status_code == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", "::"])
def test_other_machines_are_let_in_with_a_token_alone(sdgen: Command, host: str) -> None:
    result = sdgen.run("serve", "--model", "mini", "--host", host)
    assert result.exit_code == ExitCode.USAGE
    assert "--token-file" in result.stderr and "SDGEN_TOKEN" in result.stderr


@pytest.mark.parametrize("token", ["short", "with space in the middle", "ünïcode-0123456789abcdef", ""])
def test_a_token_that_is_no_good_is_refused(sdgen: Command, token: str) -> None:
    Path("token").write_text(token)
    result = sdgen.run("serve", "--model", "mini", "--token-file", "token")
    assert result.exit_code == ExitCode.USAGE
    assert "the token of --token-file" in result.stderr
    assert not token or token not in result.stderr


def test_a_port_that_is_taken_is_said(sdgen: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = sdgen.run("serve", "--model", "mini", "--port", port)
    assert result.exit_code == ExitCode.USAGE
    assert f"127.0.0.1 port {port} cannot be listened on" in result.stderr


def test_without_the_extra_it_says_what_to_install(sdgen: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "uvicorn" else find(name, *rest)
    )
    result = sdgen.run("serve", "--model", "mini")
    assert result.exit_code == ExitCode.USAGE
    assert "pip install 'sdgen[serve]'" in result.stderr
