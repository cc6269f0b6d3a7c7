"""What a process leaves behind that is killed, or meets a full disk, at each of its steps in a folder.

Python tells an audit hook of every file that is opened, named, linked or removed, before it happens. A child
process ends at the k-th of them, or is told that the disk is full, for every k.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.truncate"}
KILLED, FAILED, DONE = 9, 8, 0
FAULTS = ("kill", "full disk")


def at_every_step(folder: Path, fault: str, act: Callable[[], object]) -> Iterator[int]:
    """Run ``act`` in child processes that meet a fault at the first, second, third... step; yield each step
    when its child has ended. The caller looks at the folder and sets it up for the next one.

    Args:
        folder: steps in it count, syncing files included.
        fault: one of ``FAULTS``.
        act: what the child does.
    """
    step, status = 0, KILLED
    while status != DONE:
        step += 1
        assert step < 200, "the steps have no end: is the folder set up again for each?"
        child = os.fork()
        if child == 0:
            _child(folder, fault, act, step)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (KILLED, FAILED, DONE), f"the child ended with {status} at step {step}"
        yield step
    assert step > 1, "there was no step to fail at"


def _child(folder: Path, fault: str, act: Callable[[], object], last: int) -> None:
    taken = 0

    def step() -> None:
        nonlocal taken
        taken += 1
        if taken == last and fault == "kill":
            os._exit(KILLED)
        if taken == last:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(folder))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS and any(_inside(folder, name) for name in arguments[:2]):
            step()

    fsync = os.fsync

    def counted(handle: int) -> None:
        step()
        fsync(handle)

    status = FAILED
    try:
        os.fsync = counted
        sys.addaudithook(hook)
        act()
        status = DONE if taken < last else FAILED
    finally:
        os._exit(status)


def _inside(folder: Path, name: Any) -> bool:
    return isinstance(name, (str, os.PathLike)) and os.fspath(folder) in os.path.abspath(name)
