"""Calls a target with one folder after another, each in a forked process of its own with limits.

Run as ``python -m fuzz.worker MODULE:FUNCTION SECONDS WALL_SECONDS``; folders come as lines of
JSON on stdin, outcomes go as lines of JSON to stdout.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz.runner import MAX_BYTES
from sdgen.errors import SdgenError

_CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
"""Audit events of what changes files, beside opening one to write."""


def _address_space() -> int:
    """Bytes of virtual memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _watch(folder: Path) -> list[str]:
    """A list that grows by each path outside ``folder`` that is changed, or read in the folder around it."""
    outside: list[str] = []
    inside, around = (os.path.realpath(place) + os.sep for place in (folder, folder.parent))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _CHANGES and event != "open":
            return
        writes = event in _CHANGES or bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        for path in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
            if not isinstance(path, (str, bytes, os.PathLike)):
                continue
            real = os.path.realpath(os.fsdecode(path))
            if not (real + os.sep).startswith(inside) and real != os.devnull:
                outside.extend([real] if writes or real.startswith(around) else [])

    sys.addaudithook(hook)
    return outside


def _outcome(target: Callable[[Path], object], folder: Path, seconds: float) -> dict[str, str]:
    """What came of it: ``kind`` is "fine" or a finding's, ``detail`` says more."""
    os.chdir(folder)
    outside = _watch(folder)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MAX_BYTES, resource.RLIM_INFINITY))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # It ends the process, whatever runs.
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        target(folder)
        result = {"kind": "fine", "detail": "read"}
    except SdgenError as error:
        result = {"kind": "fine", "detail": f"{type(error).__name__}: {error}"}
    except MemoryError:
        result = {"kind": "memory", "detail": traceback.format_exc(limit=-12)}
    except BaseException:
        result = {"kind": "exception", "detail": traceback.format_exc(limit=-12)}
    if outside:
        result = {"kind": "outside", "detail": ", ".join(outside)}
    return result


def _run(target: Callable[[Path], object], folder: Path, seconds: float, wall: float) -> dict[str, str]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, json.dumps(_outcome(target, folder, seconds)).encode()[:60000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        if not select.select([pipe], [], [], wall)[0]:
            os.kill(child, signal.SIGKILL)
        answer = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if answer:
        outcome: dict[str, str] = json.loads(answer)
        return outcome
    if status in (-signal.SIGPROF, -signal.SIGKILL):
        return {"kind": "time", "detail": f"ended by {signal.Signals(-status).name}"}
    return {"kind": "crash", "detail": f"exit status {status}"}


def main() -> None:
    module, _, name = sys.argv[1].partition(":")
    limits = [float(number) for number in sys.argv[2:]]
    target = getattr(importlib.import_module(module), name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What a target prints is no answer.
    for line in sys.stdin:
        answers.write(json.dumps(_run(target, Path(json.loads(line)), *limits)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
