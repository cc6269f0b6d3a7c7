"""Bounds on how long a test may wait."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


class Hung(BaseException):
    """What should have ended has not. No ``except Exception`` of the code under test takes it."""


@contextlib.contextmanager
def bound(seconds: int) -> Iterator[None]:
    """``Hung`` where the block takes longer, even where it waits for the system."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hung(f"it has not ended after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def within(seconds: int, call: Callable[[], T]) -> T:
    """What ``call`` gives, within ``bound``."""
    with bound(seconds):
        return call()
