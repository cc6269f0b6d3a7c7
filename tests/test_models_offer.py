"""What is said before a download: models of no use yet, and the offer to fetch a model that is missing."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import fault_server as faults
import pytest
from command import Command
from fault_server import HubServer, Places
from test_models_hub import COMMIT, FILES, REPO

from sdgen import models
from sdgen.cli import downloads
from sdgen.errors import ExitCode, InputError, ModelUnavailable

pytest_plugins = ("model_fixtures",)

UNUSABLE = ["deep", "instructed"]
ROW = f"""
[toy]
task = "text-to-image"
licence = "Toy Licence 1.0"
licence_url = "https://example.org/licence"
[[toy.sources]]
name = "hub"
repo = "{REPO}"
variant = "fp16"
download = 160_000

[deep]
task = "depth-to-image"
[[deep.sources]]
name = "hub"
repo = "user/deep"

[instructed]
task = "instructed-editing"
[[instructed.sources]]
name = "hub"
repo = "user/instructed"
"""


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: HubServer) -> Command:
    """The command beside a Hub that has the catalogue's row ``toy``."""
    (tmp_path / "command").mkdir()
    command = Command(tmp_path / "command", monkeypatch)
    (command.config / "catalog.toml").write_text(ROW)
    hub.add(REPO, FILES, COMMIT)
    monkeypatch.setenv("SDGEN_RETRY_DELAY", "0")
    return command


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody sits at the terminal."""
    monkeypatch.setattr(downloads, "can_ask", lambda: True)


class TestOfNoUseYet:
    @pytest.mark.parametrize("name", UNUSABLE)
    def test_pull_refuses_before_a_byte_is_fetched(self, name: str, sdgen: Command, hub: HubServer) -> None:
        result = sdgen.run("models", "pull", "toy", name)
        assert result.exit_code == ExitCode.USAGE
        assert "which sdgen cannot do yet; nothing was fetched; --anyway fetches it" in result.stderr
        assert hub.requests == []

    @pytest.mark.parametrize("name", UNUSABLE)
    def test_anyway_fetches_it(self, name: str, sdgen: Command, hub: HubServer) -> None:
        hub.add(models.find(name).source().repo or "", FILES, COMMIT)
        path = sdgen.run("models", "pull", "--anyway", name).stdout.strip()
        assert (Path(path) / "unet/config.json").read_bytes() == FILES["unet/config.json"]
        assert sdgen.run("models", "pull", name).stdout.strip() == path  # it is here

    def test_python_is_told_as_well(self, sdgen: Command) -> None:
        with pytest.raises(InputError, match="deep is for depth-to-image, which sdgen cannot do yet"):
            models.pull("deep")

    def test_list_says_so(self, sdgen: Command) -> None:
        lines = {line.split()[0]: line for line in sdgen.run("models", "list").stdout.splitlines()}
        assert all(", not yet  " in lines[name] for name in UNUSABLE)
        assert ", not yet" not in lines["sd2.1-base"]
        rows = map(json.loads, sdgen.run("models", "list", "--json").stdout.splitlines())
        assert [row["name"] for row in rows if not row["usable"]] == UNUSABLE

    def test_show_says_so(self, sdgen: Command) -> None:
        assert (
            "deep is for depth-to-image, which sdgen cannot do yet"
            in sdgen.run("models", "show", "deep").stdout
        )
        assert "cannot do yet" not in sdgen.run("models", "show", "toy").stdout

    @pytest.mark.parametrize("name", UNUSABLE)
    def test_drawing_with_it_is_refused_before_it_is_fetched(
        self, name: str, sdgen: Command, terminal: None
    ) -> None:
        result = sdgen.run("a fox", "--model", name, input="y\n")
        assert result.exit_code == ExitCode.USAGE
        assert f"{name} is for" in result.stderr


class TestOffer:
    @pytest.mark.parametrize("arguments", [("a fox",), ("draw", "a fox"), ("batch", "prompts.txt")])
    def test_yes_fetches_and_draws(
        self, arguments: tuple[str, ...], sdgen: Command, terminal: None, hub: HubServer
    ) -> None:
        Path("prompts.txt").write_text("a fox\n")
        result = sdgen.run(*arguments, "--model", "toy", input="y\n")
        assert result.exit_code == ExitCode.OK, result.stderr
        host = hub.url.removeprefix("http://")
        assert (
            f"toy is not on this machine. Fetch about 160 kB from {host}, under the Toy Licence 1.0 "
            "(https://example.org/licence)? [y/N]: "
        ) in result.stderr
        assert models.locate("toy").is_dir()
        assert [load["model"] for load in sdgen.loads] == ["toy"]
        assert result.stderr.count("Toy Licence") == 1

    @pytest.mark.parametrize("answer", ["n\n", "\n", "no\n"])
    def test_no_and_return_fetch_nothing(
        self, answer: str, sdgen: Command, terminal: None, hub: HubServer
    ) -> None:
        result = sdgen.run("a fox", "--model", "toy", input=answer)
        assert result.exit_code == ExitCode.UNAVAILABLE
        assert "get it with `sdgen models pull toy`" in result.stderr
        assert hub.requests == []

    def test_the_end_of_input_is_no_yes(self, sdgen: Command, terminal: None, hub: HubServer) -> None:
        assert sdgen.run("a fox", "--model", "toy", input="").exit_code != ExitCode.OK
        assert hub.requests == []

    @pytest.mark.parametrize("option", ["--no-input", "--quiet"])
    def test_an_option_forbids_it(self, option: str, sdgen: Command, terminal: None) -> None:
        result = sdgen.run("a fox", "--model", "toy", option, input="y\n")
        assert result.exit_code == ExitCode.UNAVAILABLE
        assert "Fetch" not in result.stderr

    def test_a_variable_forbids_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for stream in (sys.stdin, sys.stderr):
            monkeypatch.setattr(stream, "isatty", lambda: True)
        assert downloads.can_ask()
        monkeypatch.setenv("SDGEN_NO_INPUT", "1")
        assert not downloads.can_ask()

    def test_offline_forbids_it(
        self, sdgen: Command, terminal: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SDGEN_OFFLINE", "1")
        assert "Fetch" not in sdgen.run("a fox", "--model", "toy", input="y\n").stderr

    def test_off_a_terminal_nothing_is_asked(self, sdgen: Command, hub: HubServer) -> None:
        result = sdgen.run("a fox", "--model", "toy", input="y\n")
        assert result.exit_code == ExitCode.UNAVAILABLE
        assert "Fetch" not in result.stderr
        assert hub.requests == []

    def test_a_model_that_is_unknown_is_not_offered(self, sdgen: Command, terminal: None) -> None:
        assert "Fetch" not in sdgen.run("a fox", "--model", "./nothing", input="y\n").stderr

    def test_a_model_that_is_not_whole_is_offered_for_the_rest(
        self, sdgen: Command, terminal: None, hub: HubServer
    ) -> None:
        (models.pull("toy") / "unet/config.json").unlink()
        result = sdgen.run("a fox", "--model", "toy", input="y\n")
        size = len(FILES["unet/config.json"])
        assert f"toy is not whole on this machine. Fetch {size} bytes from" in result.stderr
        assert result.exit_code == ExitCode.OK

    def test_a_real_terminal_is_asked(self, sdgen: Command, hub: HubServer) -> None:
        ours, theirs = pty.openpty()
        source = str(Path(__file__).parent.parent / "src")
        process = subprocess.Popen(
            [sys.executable, "-m", "sdgen", "a fox", "--model", "toy"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])},
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        try:
            os.write(ours, b"n\n")
            assert process.wait(timeout=60) == ExitCode.UNAVAILABLE
            shown = os.read(ours, 10_000).decode()
        finally:
            process.kill()
            process.wait()
            os.close(ours)
        assert "toy is not on this machine. Fetch about 160 kB" in shown


class TestReplay:
    """Sidecars of a model that is not here."""

    @pytest.fixture
    def sidecars(self, sdgen: Command) -> list[str]:
        sdgen.drawn("a fox", "a bear", "--seed", "7")
        names = sorted(str(file) for file in Path("outputs").glob("*.json"))
        for name in names:
            record = json.loads(Path(name).read_text())
            Path(name).write_text(json.dumps({**record, "model": "toy"}))
        return names

    def test_it_is_offered_once_for_all_of_them(
        self, sidecars: list[str], sdgen: Command, terminal: None, hub: HubServer
    ) -> None:
        result = sdgen.run("replay", *sidecars, input="n\ny\n")
        assert result.stderr.count("Fetch about 160 kB") == 1
        assert result.stderr.count("toy is not on this machine: get it with") == 2
        assert hub.requests == []

    def test_yes_fetches_it(self, sidecars: list[str], sdgen: Command, terminal: None) -> None:
        result = sdgen.run("replay", *sidecars, input="y\n")
        assert result.stderr.count("Fetch about 160 kB") == 1
        assert models.locate("toy").is_dir()

    def test_no_input_forbids_it(self, sidecars: list[str], sdgen: Command, terminal: None) -> None:
        assert "Fetch" not in sdgen.run("replay", *sidecars, "--no-input", input="y\n").stderr


class TestFailedFetch:
    def test_it_names_the_host_the_network_and_the_bundled_model(
        self, places: Places, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(ModelUnavailable) as caught:
            models.pull("sd2.1-base")
        assert "ianstenbit/keras-sd2.1 at 127.0.0.1:9 cannot be reached" in str(caught.value)
        assert str(caught.value).endswith(
            "; see whether the network, or the proxy, lets you reach 127.0.0.1:9; "
            "--model mini needs no download"
        )

    def test_a_listing_names_them_as_well(self, places: Places) -> None:
        with pytest.raises(ModelUnavailable, match=r"reach 127\.0\.0\.1:9; --model mini needs no download"):
            models.pull("sd-turbo")

    def test_what_is_gone_for_good_is_not_laid_on_the_network(self, hub: HubServer) -> None:
        hub.always(f"/api/models/{REPO}/revision/main", faults.status(404, X_Error_Code="RepoNotFound"))
        with pytest.raises(ModelUnavailable) as caught:
            models.pull(REPO)
        assert "network" not in str(caught.value)
        assert str(caught.value).endswith("--model mini needs no download")
