"""Downloads from a server that misbehaves: never wrong bytes, clear words, and the next run finishes."""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path
from typing import Any

import fault_server as faults
import pytest
import requests
from fault_server import FaultServer, Places

from sdgen import models
from sdgen.errors import ExitCode, InputError, ModelUnavailable
from sdgen.models import connection, fetch_file

pytest_plugins = ("model_fixtures",)

DATA = random.Random(7).randbytes(600_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
PATH = "/weights.h5"


class Recorder(models.Progress):
    """Keeps what a download tells."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.begun: list[tuple[str, int | None, int]] = []
        self.moves: list[int] = []

    def begin(self, name: str, total: int | None, done: int) -> None:
        self.begun.append((name, total, done))

    def move(self, done: int) -> None:
        self.moves.append(done)

    def note(self, text: str) -> None:
        self.notes.append(text)


def entry(*urls: str, **keys: Any) -> str:
    """The file as an inline table of the catalogue."""
    fields = {"name": "weights.h5", "urls": list(urls), **keys}
    return "{" + ", ".join(f"{key} = {value!r}" for key, value in fields.items()) + "}"


@pytest.fixture
def good(server: FaultServer, places: Places) -> FaultServer:
    """A server with the file, and the row ``toy`` that names it with its digest."""
    server.files[PATH] = DATA
    places.row("toy", entry(server.url + PATH, sha256=SHA256, size=len(DATA)))
    return server


def target(places: Places) -> Path:
    return places.models / "toy" / "web" / "weights.h5"


def part(places: Places) -> Path:
    return target(places).with_name("weights.h5.part")


def test_a_file_arrives_whole_under_its_name(good: FaultServer, places: Places) -> None:
    told = Recorder()
    path = models.pull("toy", progress=told)
    assert path == target(places)
    assert path.read_bytes() == DATA
    assert sorted(file.name for file in path.parent.iterdir()) == ["manifest.json", "weights.h5"]
    assert told.begun == [("weights.h5", len(DATA), 0)]
    assert told.moves[-1] == len(DATA)
    assert models.locate("toy") == path


def test_a_second_pull_asks_for_nothing(good: FaultServer) -> None:
    models.pull("toy")
    asked = len(good.requests)
    models.pull("toy")
    assert len(good.requests) == asked


PASSING = {
    "dropped": [faults.drop(100_000)],
    "dropped often": [faults.drop(70_000)] * 9,
    "dropped at once": [faults.drop(0)] * 3,
    "429": [faults.status(429, Retry_After="0")] * 3,
    "500": [faults.status(500)] * 3,
    "503 with a date": [faults.status(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")],
    "range ignored": [faults.drop(100_000), faults.ignore_range],
    "another range": [faults.drop(100_000), faults.wrong_range],
    "range ignored later": [faults.drop(70_000), faults.drop(70_000), faults.ignore_range],
    "unframed": [faults.unframed()],
    "unframed and cut": [faults.unframed(cut=500)],
    "chunked": [faults.chunked(finished=True)],
    "chunks cut": [faults.chunked(finished=False)],
    "slow": [faults.slow(10, 0.01)],
}


@pytest.mark.parametrize("fault", PASSING)
def test_one_run_gets_over_a_passing_fault(fault: str, good: FaultServer, places: Places) -> None:
    good.plan(PATH, *PASSING[fault])
    assert models.pull("toy").read_bytes() == DATA
    assert not part(places).exists()


LASTING = {
    "404": (faults.status(404), "does not have the file (status 404)"),
    "403": (faults.status(403), "refuses access (status 403)"),
    "418": (faults.status(418), "answered with status 418"),
    "429": (faults.status(429), "is asked too often (status 429)"),
    "429 for long": (faults.status(429, Retry_After="900"), "asks to wait for 900 s"),
    "500": (faults.status(500), "is in trouble (status 500)"),
    "wrong bytes": (faults.wrong_bytes, "sent other bytes than expected"),
    "too short": (faults.too_short, "has a file of 599000 bytes instead of 600000"),
    "too long": (faults.too_long, "has a file of 601000 bytes instead of 600000"),
    "compressed": (faults.compressed, "sends the file compressed"),
    "a page": (faults.web_page, "has a file of 26 bytes instead of 600000"),
    "dropped at once": (faults.drop(0), "dropped the connection"),
    "stalled": (faults.stall(1000, 1.5), "stopped sending"),
}


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_a_wait_that_is_no_number_of_seconds_is_refused(
    text: str, good: FaultServer, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_DOWNLOAD_TIMEOUT", text)
    with pytest.raises(InputError, match=f"SDGEN_DOWNLOAD_TIMEOUT is '{text}', not a number of seconds"):
        models.pull("toy")


@pytest.mark.parametrize("fault", LASTING)
def test_a_lasting_fault_is_told_and_the_next_run_finishes(
    fault: str, good: FaultServer, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_DOWNLOAD_TIMEOUT", "0.2")
    lasting, words = LASTING[fault]
    good.always(PATH, lasting)
    with pytest.raises(ModelUnavailable) as caught:
        models.pull("toy")
    assert words in str(caught.value)
    assert "127.0.0.1" in str(caught.value)
    assert caught.value.exit_code == ExitCode.UNAVAILABLE
    assert not target(places).exists()
    with pytest.raises(ModelUnavailable, match="not on this machine"):
        models.locate("toy")
    good.behave()
    assert models.pull("toy").read_bytes() == DATA


def test_wrong_bytes_leave_no_part(good: FaultServer, places: Places) -> None:
    good.always(PATH, faults.wrong_bytes)
    with pytest.raises(ModelUnavailable):
        models.pull("toy")
    assert not part(places).exists()


def test_a_part_is_kept_and_continued_by_the_next_run(good: FaultServer, places: Places) -> None:
    good.plan(PATH, faults.drop(131_072), *[faults.drop(0)] * 9)
    with pytest.raises(ModelUnavailable, match="131 kB are kept and the same command goes on from there"):
        models.pull("toy")
    assert part(places).read_bytes() == DATA[:131_072]
    good.behave()
    told = Recorder()
    assert models.pull("toy", progress=told).read_bytes() == DATA
    assert told.begun == [("weights.h5", len(DATA), 131_072)]
    assert good.asked(PATH)[-1]["Range"] == "bytes=131072-"


def test_a_part_with_wrong_bytes_is_fetched_anew(good: FaultServer, places: Places) -> None:
    part(places).parent.mkdir(parents=True)
    part(places).write_bytes(b"x" * 50_000)
    assert models.pull("toy").read_bytes() == DATA
    assert "Range" not in good.asked(PATH)[-1]


def test_a_part_longer_than_the_file_is_dropped(good: FaultServer, places: Places) -> None:
    part(places).parent.mkdir(parents=True)
    part(places).write_bytes(b"x" * 700_000)
    assert models.pull("toy").read_bytes() == DATA


def test_a_whole_part_is_accepted_without_a_request(good: FaultServer, places: Places) -> None:
    part(places).parent.mkdir(parents=True)
    part(places).write_bytes(DATA)
    assert models.pull("toy").read_bytes() == DATA
    assert good.requests == []


def test_a_whole_part_of_unknown_size_is_accepted(server: FaultServer, places: Places) -> None:
    server.files[PATH] = DATA
    places.row("toy", entry(server.url + PATH, sha256=SHA256))
    part(places).parent.mkdir(parents=True)
    part(places).write_bytes(DATA)
    assert models.pull("toy").read_bytes() == DATA
    assert len(server.requests) == 1


def test_the_next_mirror_is_tried_and_goes_on_from_the_part(server: FaultServer, places: Places) -> None:
    server.files["/one"] = server.files["/two"] = DATA
    server.plan("/one", faults.drop(65_536), faults.status(404))
    places.row("toy", entry(f"{server.url}/one", f"{server.url}/two", sha256=SHA256, size=len(DATA)))
    told = Recorder()
    assert models.pull("toy", progress=told).read_bytes() == DATA
    assert server.asked("/two")[0]["Range"] == "bytes=65536-"
    assert any("does not have the file (status 404); trying the next mirror" in note for note in told.notes)


def test_a_mirror_with_wrong_bytes_does_not_spoil_the_next(server: FaultServer, places: Places) -> None:
    server.files["/one"] = server.files["/two"] = DATA
    server.always("/one", faults.wrong_bytes)
    places.row("toy", entry(f"{server.url}/one", f"{server.url}/two", sha256=SHA256))
    assert models.pull("toy").read_bytes() == DATA
    assert "Range" not in server.asked("/two")[0]


def test_the_message_says_why_each_mirror_failed(server: FaultServer, places: Places) -> None:
    with FaultServer() as other:
        places.row("toy", entry(f"{server.url}/one", f"{other.url}/two", sha256=SHA256))
        other.always("/two", faults.status(403))
        with pytest.raises(ModelUnavailable) as caught:
            models.pull("toy")
    first, second = server.url.removeprefix("http://"), other.url.removeprefix("http://")
    assert f"{first} does not have the file (status 404); {second} refuses access" in str(caught.value)


def test_a_server_that_is_not_there(places: Places) -> None:
    places.row("toy", entry("http://127.0.0.1:9/weights.h5", sha256=SHA256))
    with pytest.raises(ModelUnavailable, match=r"127\.0\.0\.1:9 cannot be reached"):
        models.pull("toy")


class TestWithoutDigest:
    """A row that has neither sha256 nor size: only what the server vouches for is taken."""

    @pytest.fixture(autouse=True)
    def row(self, server: FaultServer, places: Places) -> None:
        server.files[PATH] = DATA
        places.row("toy", entry(server.url + PATH))

    def test_the_digest_is_noted_and_checked_later(self, server: FaultServer) -> None:
        path = models.pull("toy")
        assert path.read_bytes() == DATA
        path.write_bytes(DATA[:-1] + b"?")
        with pytest.raises(ModelUnavailable, match=f"instead of {SHA256}"):
            models.locate("toy")

    def test_it_resumes_under_the_same_etag_alone(self, server: FaultServer, places: Places) -> None:
        server.headers[PATH] = {"ETag": '"fixed"'}
        server.plan(PATH, faults.drop(131_072), *[faults.drop(0)] * 9)
        with pytest.raises(ModelUnavailable):
            models.pull("toy")
        server.behave()
        assert models.pull("toy").read_bytes() == DATA
        assert server.asked(PATH)[-1]["If-Range"] == '"fixed"'

    def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(
        self, server: FaultServer, places: Places
    ) -> None:
        server.plan(PATH, faults.drop(131_072), *[faults.drop(0)] * 9)
        with pytest.raises(ModelUnavailable):
            models.pull("toy")
        server.behave()
        server.files[PATH] = DATA[::-1]
        assert models.pull("toy").read_bytes() == DATA[::-1]

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            (faults.unframed(cut=10), "does not say how long the file is"),
            (faults.web_page, "sent a web page"),
            (faults.chunked(finished=False), "dropped the connection"),
        ],
    )
    def test_what_cannot_be_told_whole_is_refused(
        self, fault: faults.Fault, words: str, server: FaultServer, places: Places
    ) -> None:
        server.always(PATH, fault)
        with pytest.raises(ModelUnavailable, match=words):
            models.pull("toy")
        assert not target(places).exists()


def test_redirects_are_followed(good: FaultServer) -> None:
    good.files["/elsewhere"] = good.files.pop(PATH)
    good.redirects[PATH] = "/elsewhere"
    assert models.pull("toy").read_bytes() == DATA


def test_redirects_in_circles_are_told(good: FaultServer) -> None:
    good.redirects[PATH] = PATH
    with pytest.raises(ModelUnavailable, match="redirects in circles"):
        models.pull("toy")


def test_a_redirect_to_plain_http_elsewhere_is_refused(good: FaultServer) -> None:
    good.redirects[PATH] = "http://192.0.2.1/weights.h5"
    with pytest.raises(ModelUnavailable, match="leads to an address that is not https"):
        models.pull("toy")


def test_a_damaged_file_is_told_and_mended(good: FaultServer, places: Places) -> None:
    models.pull("toy")
    damaged = bytearray(DATA)
    damaged[1000] ^= 1
    target(places).write_bytes(damaged)
    with pytest.raises(ModelUnavailable, match=r"has sha256 .* `sdgen models pull toy` fetches it again"):
        models.locate("toy")
    assert models.pull("toy").read_bytes() == DATA


def test_a_full_disk_is_told_before_anything_is_fetched(
    good: FaultServer, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(places.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    with pytest.raises(ModelUnavailable, match=r"600 kB are needed .* 10 kB are free"):
        models.pull("toy")
    assert good.requests == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_disk_that_fills_up_is_told(good: FaultServer, places: Places) -> None:
    part(places).parent.mkdir(parents=True)
    part(places).symlink_to("/dev/full")
    with pytest.raises(ModelUnavailable, match=r"the disk is full: .*weights\.h5\.part cannot grow"):
        models.pull("toy")
    part(places).unlink()
    assert models.pull("toy").read_bytes() == DATA


def test_a_folder_that_cannot_be_written_is_told(
    good: FaultServer, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = places.root / "file"
    file.touch()
    monkeypatch.setenv("SDGEN_MODELS_DIR", str(file / "models"))
    with pytest.raises(ModelUnavailable, match=r"cannot be written: Not a directory; SDGEN_MODELS_DIR"):
        models.pull("toy")


@pytest.mark.parametrize("name", ["SDGEN_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_asks_nobody(name: str, good: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ModelUnavailable, match="the network may not be used"):
        models.pull("toy")
    assert good.requests == []


def test_the_second_source_is_tried_where_the_first_is_gone(server: FaultServer, places: Places) -> None:
    server.files["/two"] = DATA
    one, two = entry(f"{server.url}/one", sha256=SHA256), entry(f"{server.url}/two", sha256=SHA256)
    places.catalogue(
        '[toy]\ntask = "text-to-image"\n'
        f'[[toy.sources]]\nname = "a"\nfiles = [{one}]\n[[toy.sources]]\nname = "b"\nfiles = [{two}]\n'
    )
    assert models.pull("toy").parent.name == "b"


def test_a_proxy_is_used(server: FaultServer, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["http://localhost:9/weights.h5"] = DATA  # a proxy is asked for the whole address
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("NO_PROXY", "")
    places.row("toy", entry("http://localhost:9/weights.h5", sha256=SHA256))
    assert models.pull("toy").read_bytes() == DATA


@pytest.mark.parametrize("text", ["\u00b2", "9" * 5000, "Mon, 01 Jan 0001 00:00:00 -0000", "soon"])
def test_headers_that_are_no_numbers_are_passed_over(text: str) -> None:
    answer = requests.Response()
    answer.status_code = 503
    answer.headers.update({"Content-Length": text, "Retry-After": text})
    assert connection.total_size(answer, 0) is None
    assert connection.retry_after(answer) in (None, 0.0)


def test_a_file_without_an_end_leaves_the_disk_some_space(
    server: FaultServer, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/x.h5"] = bytes(300_000)
    server.always("/x.h5", faults.chunked(finished=True))
    places.row("endless", f'{{name = "x.h5", urls = ["{server.url}/x.h5"]}}')
    monkeypatch.setattr(fetch_file, "_CHECK_EVERY", 100_000)
    monkeypatch.setattr(fetch_file, "_SPARE", 10**18)
    with pytest.raises(ModelUnavailable, match=r"x\.h5, whose size is not known, .* leaves less than"):
        models.pull("endless")
    monkeypatch.setattr(fetch_file, "_SPARE", 0)
    assert models.pull("endless").read_bytes() == bytes(300_000)
