"""Fixtures of the fuzzers; the options are in tests/conftest.py, where pytest finds them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fuzz import runner


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A fuzzer is slow."""
    for item in items:
        if item.path.parent == Path(__file__).parent and "fuzz" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")


def _report(findings: list[runner.Finding]) -> None:
    lines = [f"{finding.kind} with {finding.folder}:\n{finding.detail}" for finding in findings]
    assert not findings, "\n\n".join(lines)


@pytest.fixture
def fuzz(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    """Runs a target ("module:function") on ``--fuzz-inputs`` inputs of a maker; fails on findings.

    ``least`` inputs are tried where that is more.
    """
    names = ("--fuzz-inputs", "--fuzz-seconds", "--fuzz-seed")
    count, seconds, seed = map(request.config.getoption, names)

    def run(target: str, make: runner.Maker, least: int = 0) -> None:
        _report(runner.fuzz(target, make, tmp_path, runner.inputs(max(count, least), seconds), seed))

    return run


@pytest.fixture(scope="session")
def _targets() -> Iterator[dict[str, runner.Target]]:
    """The processes of ``try_out``, each started once."""
    targets: dict[str, runner.Target] = {}
    with contextlib.ExitStack() as stack:
        yield targets
        for target in targets.values():
            stack.push(target.__exit__)


@pytest.fixture
def try_out(
    tmp_path: Path, _targets: dict[str, runner.Target]
) -> Callable[[str, Callable[[Path], object]], str]:
    """Runs a target on the one input that a function writes into a folder; fails on a finding.

    The answer is "read", or the error's class and message.
    """

    def run(name: str, write: Callable[[Path], object]) -> str:
        folder = tmp_path / "input"
        folder.mkdir()
        write(folder)
        target = _targets.get(name) or _targets.setdefault(name, runner.Target(name))
        finding, answer = target(folder)
        _report([finding] if finding else [])
        return answer

    return run
