"""Jobs: drawn whether or not anybody waits for them, once each, through restarts and kills."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import stand_in
from PIL import Image
from served_app import Served, served
from serving import PATIENCE, Held
from test_serve_command import serving

from sdgen.errors import OutputError
from sdgen.serve.jobs.folder import JobFolder
from sdgen.serve.settings import Limits, Settings

LIMITS = Limits(waiting=4, job_pictures=30, jobs_waiting=40, pixels=256 * 256, steps=60)
SETTINGS = Settings(models=("mini", "second"), limits=LIMITS)
FOX = {"prompt": "fox", "width": 64, "height": 64}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(SETTINGS, jobs=tmp_path / "jobs") as running:
        yield running


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Served]:
    """A server whose engine waits for permits."""
    with served(SETTINGS, Held(), jobs=tmp_path / "jobs") as running:
        yield running


def add(server: Served, *sent: Any, key: str | None = None) -> requests.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return requests.post(
        f"{server.url}/api/jobs", json={"requests": list(sent)}, headers=headers, timeout=PATIENCE
    )


def get(server: Any, path: str) -> Any:
    answer = requests.get(f"{server.url}/api/{path}", timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return answer.json()


def events(server: Any, id: str) -> Iterator[tuple[str, Any]]:
    """The events of a job until its end."""
    url = f"{server.url}/api/jobs/{id}/events"
    with requests.get(url, stream=True, timeout=PATIENCE) as answer:
        name = ""
        for line in answer.iter_lines(decode_unicode=True):
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))


def done(server: Any, id: str) -> Any:
    """A job once it has ended."""
    return list(events(server, id))[-1][1]


def pictures(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.png"))


def test_a_job_is_drawn_to_files_with_sidecars(server: Served, tmp_path: Path) -> None:
    answer = add(server, {**FOX, "seed": 5, "count": 2}, {**FOX, "prompt": "cat", "seed": 9})
    assert answer.status_code == 202
    id = answer.json()["id"]
    assert answer.headers["location"] == f"/api/jobs/{id}"
    job = done(server, id)
    assert (job["status"], job["progress"], job["counts"]["drawn"]) == ("done", 1, 3)
    assert [(image["seed"], image["status"]) for image in job["images"]] == [
        (5, "drawn"),
        (6, "drawn"),
        (9, "drawn"),
    ]
    picture = requests.get(server.url + job["images"][0]["url"], timeout=PATIENCE)
    assert picture.headers["content-type"] == "image/png"
    sidecar = requests.get(server.url + job["images"][0]["sidecar"], timeout=PATIENCE).json()
    assert (sidecar["prompt"], sidecar["seed"]) == ("fox", 5)
    files = pictures(tmp_path / "jobs")
    assert len(files) == 3 and all(file.with_suffix(".json").is_file() for file in files)
    drawn = stand_in.draw(stand_in.REQUEST.replace(seed=5, width=64, height=64))
    assert any(np.array_equal(np.asarray(Image.open(file)), drawn) for file in files)


def test_events_tell_of_each_picture_once_and_of_the_end(held: Served) -> None:
    id = add(held, {**FOX, "seed": 1, "count": 3}).json()["id"]
    held.engine.permits.release(10)
    told = list(events(held, id))
    assert sorted(data["seed"] for name, data in told if name == "image") == [1, 2, 3]
    assert [name for name, _ in told].count("end") == 1 and told[-1][0] == "end"
    again = list(events(held, id))  # Whoever comes later is told, too.
    assert sorted(data["seed"] for name, data in again if name == "image") == [1, 2, 3]


def test_the_same_key_is_the_same_job(server: Served, tmp_path: Path) -> None:
    first = add(server, FOX, key="a")
    again = add(server, FOX, key="a")
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    done(server, first.json()["id"])
    assert add(server, FOX, key="a").json()["status"] == "done"
    assert len(pictures(tmp_path / "jobs")) == 1
    assert add(server, FOX, key="b").json()["id"] != first.json()["id"]
    other = add(server, {**FOX, "prompt": "cat"}, key="a")
    assert other.status_code == 422 and other.json()["error"]["code"] == "key_reused"


def test_a_job_that_waits_knows_what_is_before_it(held: Served) -> None:
    first = add(held, {**FOX, "count": 2}).json()
    second = add(held, FOX).json()
    assert (first["ahead"], second["ahead"]) == (0, 2)
    assert second["status"] == "waiting"
    assert [job["id"] for job in get(held, "jobs?limit=1")["jobs"]] == [second["id"]]
    held.engine.permits.release(10)
    assert done(held, second["id"])["ahead"] == 0


def test_a_cancelled_job_is_drawn_no_further(held: Served, tmp_path: Path) -> None:
    id = add(held, {**FOX, "seed": 1, "count": 5, "steps": 50}).json()["id"]
    held.engine.began()
    answer = requests.post(f"{held.url}/api/jobs/{id}/cancel", timeout=PATIENCE)
    assert answer.json()["status"] == "cancelled"
    held.engine.permits.release(10)
    job = done(held, id)
    assert job["status"] == "cancelled" and job["counts"]["dropped"] == 5
    assert done(held, add(held, {**FOX, "seed": 9}).json()["id"])["status"] == "done"
    assert len(pictures(tmp_path / "jobs")) == 1
    assert held.engine.steps < 50


def test_jobs_keep_whoever_waits_for_a_picture_waiting_for_few(held: Served) -> None:
    add(held, {**FOX, "seed": 1, "count": 30})
    held.engine.began()
    assert held.drawer.pending <= 3
    held.engine.permits.release(100)


def test_a_failure_is_told_and_the_rest_is_drawn(server: Served) -> None:
    job = done(server, add(server, {**FOX, "prompt": "crash"}, {**FOX, "prompt": "fox"}).json()["id"])
    assert [image["status"] for image in job["images"]] == ["failed", "drawn"]
    assert job["images"][0]["error"] == "the server failed; its log says how"
    assert job["status"] == "done"
    assert done(server, add(server, {**FOX, "prompt": "broken"}).json()["id"])["status"] == "failed"


def test_a_server_goes_on_with_what_another_left(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    engine = Held()
    with served(SETTINGS, engine, jobs=folder) as first:
        id = add(first, {**FOX, "seed": 1, "count": 4}).json()["id"]
        add(first, {**FOX, "seed": 9}, {**FOX, "prompt": "broken", "seed": 10}, key="b")
        engine.permits.release()
        first.until(lambda: len(pictures(folder)) == 1)
        engine.began()
        first.server.should_exit = True  # Nothing that is begun is finished.
        first.drawer._stopping = True
    with served(SETTINGS, jobs=folder) as second:
        assert done(second, id)["counts"]["drawn"] == 4
        other = add(second, {**FOX, "seed": 9}, {**FOX, "prompt": "broken", "seed": 10}, key="b").json()
        assert done(second, other["id"])["counts"] == {
            **dict.fromkeys(("waiting", "drawing", "dropped"), 0),
            "drawn": 1,
            "failed": 1,
        }
        drawn = [seed for batch, _ in second.engine.batches for seed in batch]
    assert sorted(drawn) == sorted({1, 2, 3, 4, 9, 10} - {engine.batches[0][0][0]})
    with served(SETTINGS, jobs=folder) as third:
        assert get(third, f"jobs/{id}")["status"] == "done"
        assert not third.engine.batches


def test_a_killed_server_has_lost_nothing_and_nothing_is_drawn_twice(tmp_path: Path) -> None:
    ids = []
    with serving(tmp_path, "--jobs", "jobs") as process:
        process.ready()
        for number in range(20):
            prompt = "held" if number == 3 else "fox"
            sent = {"request": {**FOX, "prompt": prompt, "seed": number}}
            answer = requests.post(
                f"{process.url}/api/jobs",
                json=sent,
                headers={"Idempotency-Key": str(number)},
                timeout=PATIENCE,
            )
            assert answer.status_code == 202
            ids.append(answer.json()["id"])
        process.says("held")
        process.signal(signal.SIGKILL)
        process.ended()
    folder = tmp_path / "jobs"
    before = {file: hashlib.sha256(file.read_bytes()).digest() for file in pictures(folder)}
    assert 0 < len(before) < 20
    stamps = {file: file.stat().st_mtime_ns for file in before}
    (tmp_path / "go").touch()
    with serving(tmp_path, "--jobs", "jobs") as process:
        process.says("going on with")
        jobs = [done(process, id) for id in ids]
        assert [job["status"] for job in jobs] == ["done"] * 20
        process.signal()
        process.ended()
    files = pictures(folder)
    assert len(files) == 20
    assert {file: file.stat().st_mtime_ns for file in before} == stamps
    for file in files:
        Image.open(file).load()
        assert json.loads(file.with_suffix(".json").read_text())["image"] == file.name


def test_two_servers_have_no_jobs_in_common(server: Served, tmp_path: Path) -> None:
    done(server, add(server, FOX).json()["id"])
    with pytest.raises(OutputError, match="another server draws the jobs"):
        JobFolder(tmp_path / "jobs").open(make=False)


def test_a_server_without_jobs_makes_no_folder(server: Served, tmp_path: Path) -> None:
    assert get(server, "jobs") == {"jobs": []}
    assert not (tmp_path / "jobs").exists()


def test_too_many_pictures_are_refused(held: Served) -> None:
    assert add(held, {**FOX, "count": 31}).status_code == 400
    assert add(held, {**FOX, "count": 20}, {**FOX, "prompt": "b", "count": 20}).status_code == 422
    assert add(held, {**FOX, "count": 30}).status_code == 202
    refused = add(held, {**FOX, "count": 30})
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "requests"),
        ({"requests": []}, "requests"),
        ({"requests": {}}, "requests"),
        ({"request": FOX, "requests": [FOX]}, "requests"),
        ({"request": FOX, "zz": 1}, "zz"),
        ({"requests": [5]}, "requests"),
        ({"request": {}}, "prompt"),
        ({"request": {**FOX, "zz": 1}}, "zz"),
        ({"request": {**FOX, "model": "/etc"}}, "model"),
        ({"request": {**FOX, "init_image": "/etc/passwd"}}, "image"),
        ({"request": {**FOX, "mask": {"file": "/etc/passwd"}}}, "mask"),
        ({"request": {**FOX, "count": 0}}, "count"),
        ({"request": {**FOX, "count": True}}, "count"),
        ({"request": {**FOX, "steps": 0}}, "steps"),
        ({"request": {**FOX, "seed": 2**64 - 1, "count": 2}}, "seed"),
        ({"request": {**FOX, "width": 512, "height": 512}}, "size"),
    ],
)
def test_what_is_no_job_is_refused(server: Served, body: Any, field: str) -> None:
    answer = requests.post(f"{server.url}/api/jobs", json=body, timeout=PATIENCE)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["param"] == field


@pytest.mark.parametrize("id", ["x", "..", "%2e%2e", "0" * 32, "0" * 31, "../" * 5, "%00", "A" * 32])
def test_a_job_that_there_is_not_is_not_found(server: Served, id: str) -> None:
    for path in ("", "/events", "/images/0", "/images/0/sidecar"):
        assert requests.get(f"{server.url}/api/jobs/{id}{path}", timeout=PATIENCE).status_code == 404


def test_a_picture_that_there_is_not_is_not_found(server: Served) -> None:
    id = add(server, FOX).json()["id"]
    done(server, id)
    assert requests.get(f"{server.url}/api/jobs/{id}/images/1", timeout=PATIENCE).status_code == 404
    for bad in ("0", "101", "x", "-1"):
        assert requests.get(f"{server.url}/api/jobs?limit={bad}", timeout=PATIENCE).status_code == 400
    assert add(server, FOX, key="x" * 201).status_code == 400
