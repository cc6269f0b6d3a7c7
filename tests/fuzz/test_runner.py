"""The fuzzers' runner notices what it is there to notice."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path

import pytest

from fuzz import runner


@pytest.mark.parametrize(
    ("what", "kind", "detail"),
    [
        ("fail", "exception", "TypeError: unexpected"),
        ("recurse", "exception", "RecursionError"),
        ("exit", "exception", "SystemExit: 3"),
        ("swell", "memory", "MemoryError"),
        ("spin", "time", "SIGPROF"),
        ("write", "outside", "outside"),
        ("read", "outside", "secret"),
    ],
)
def test_what_a_target_must_not_do_is_found(tmp_path: Path, what: str, kind: str, detail: str) -> None:
    (tmp_path / "secret").write_text("x")
    folder = tmp_path / "input"
    folder.mkdir()
    (folder / "do").write_text(what)
    with runner.Target("fuzz.probes:misbehave", seconds=1) as target:
        finding, _ = target(folder)
    assert finding and (finding.kind, finding.folder) == (kind, folder)
    assert detail in finding.detail


def test_refusals_and_output_are_fine_and_later_inputs_are_still_tried(tmp_path: Path) -> None:
    answers = []
    with runner.Target("fuzz.probes:misbehave") as target:
        for number, what in enumerate(("fail", "refuse", "print")):
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "do").write_text(what)
            answers.append(target(folder))
    assert [finding and finding.kind for finding, _ in answers] == ["exception", None, None]
    assert [answer for _, answer in answers[1:]] == ["InputError: no", "read"]


def test_what_waits_for_ever_is_ended(tmp_path: Path) -> None:
    with runner.Target("fuzz.probes:wait", wall_seconds=1) as target:
        finding, _ = target(tmp_path)
    assert finding and finding.kind == "time"


def test_inputs_depend_on_the_seed_alone_and_those_of_findings_are_kept(tmp_path: Path) -> None:
    def make(rng: random.Random, folder: Path) -> None:
        (folder / "do").write_text(rng.choice(("fail", "refuse")))

    found = [
        [
            finding.folder.name
            for finding in runner.fuzz(
                "fuzz.probes:misbehave", make, tmp_path / run, itertools.count(), seed=3, most=2
            )
        ]
        for run in ("one", "two")
    ]
    assert len(found[0]) == 2 and found[0] == found[1]
    assert sorted(folder.name for folder in (tmp_path / "one").iterdir()) == sorted(found[0])


def test_inputs_are_as_many_as_are_asked_for_or_as_the_time_allows() -> None:
    assert list(runner.inputs(3)) == [0, 1, 2]
    assert list(runner.inputs(0)) == list(runner.inputs(3, 0.0)) == [0]
    assert list(itertools.islice(runner.inputs(1, math.inf), 5)) == [0, 1, 2, 3, 4]
