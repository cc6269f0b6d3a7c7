"""Hostile pictures: read, or refused in a sentence, within a gigabyte and five seconds each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hostile_pictures
import pytest
from fuzz import runner

MAKERS = hostile_pictures.makers()


def test_there_are_two_hundred() -> None:
    assert len(MAKERS) >= 200


@pytest.fixture(scope="module")
def target() -> Iterator[runner.Target]:
    with runner.Target("hostile_pictures:read") as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_it_is_answered_within_bounds(target: runner.Target, tmp_path: Path, name: str) -> None:
    """No traceback but an InputError, no more memory than the runner allows, no more processor time."""
    folder = tmp_path / "input"
    folder.mkdir()
    MAKERS[name](folder / name)
    finding, answer = target(folder)
    assert finding is None, finding
    assert "\n" not in answer
