"""The exit status says what became of the images."""

from __future__ import annotations

import signal

import pytest

from sdgen.batch.report import Report
from sdgen.errors import ExitCode


def report(drawn: int, failed: int, *, planned: int = 4, **state: object) -> Report:
    found = Report(planned)
    found.drawn, found.failed = drawn, failed
    for name, value in state.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("drawn", "failed", "state", "expected"),
    [
        (4, 0, {}, ExitCode.OK),
        (3, 1, {}, ExitCode.SOME_FAILED),
        (1, 0, {"ended": ExitCode.NONE_DRAWN}, ExitCode.SOME_FAILED),
        (4, 0, {"ended": ExitCode.NONE_DRAWN}, ExitCode.NONE_DRAWN),
        (0, 4, {}, ExitCode.NONE_DRAWN),
        (0, 0, {"ended": ExitCode.NONE_DRAWN}, ExitCode.NONE_DRAWN),
        (0, 0, {"ended": ExitCode.UNAVAILABLE}, ExitCode.UNAVAILABLE),
        (0, 0, {"ended": ExitCode.USAGE}, ExitCode.USAGE),
        (2, 0, {"stopped": signal.SIGINT}, ExitCode.INTERRUPTED),
        (2, 1, {"stopped": signal.SIGTERM}, ExitCode.TERMINATED),
    ],
)
def test_exit_code(drawn: int, failed: int, state: dict[str, object], expected: ExitCode) -> None:
    assert report(drawn, failed, **state).exit_code is expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (report(1, 0, planned=1), "1 image drawn, in 2.0 s"),
        (report(4, 0), "4 images drawn, in 2.0 s"),
        (report(0, 1, planned=1), "0 of 1 image drawn, 1 failed, in 2.0 s"),
        (report(1_000, 0, planned=1_200), "1,000 of 1,200 images drawn, 200 not drawn, in 2.0 s"),
        (report(3, 1), "3 of 4 images drawn, 1 failed, in 2.0 s"),
        (report(1, 1, ended=ExitCode.NONE_DRAWN), "1 of 4 images drawn, 1 failed, 2 not drawn, in 2.0 s"),
        (report(3, 0, cancelled=1), "3 of 4 images drawn, 1 cancelled, in 2.0 s"),
        (report(1, 0, stopped=signal.SIGINT), "1 of 4 images drawn, stopped with 3 to go, in 2.0 s"),
    ],
)
def test_summary(found: Report, expected: str) -> None:
    assert found.summary(2.0) == expected
