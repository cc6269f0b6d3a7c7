"""Files that a library reads in a process of its own: damaged ones may keep it busy for ever, or crash it."""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CPU_SECONDS = 4
"""Seconds of processor time for all files together; keras_cv's largest takes half a second."""

WALL_SECONDS = 120
"""A slow disk may take long."""

ADDRESS_SPACE = 2 << 30

_CODE = (
    "import sys; sys.path[:] = {path!r}; "
    "from sdgen.checkpoints.limited_process import serve; serve({function!r})"
)


def in_child(function: str, paths: Sequence[Path]) -> list[Any]:
    """A function's answers about each file, up to the first at which its process ended or ran out of time.

    Args:
        function: "module:function", which takes a path and gives what JSON can hold.
        paths: the files.
    """
    code = _CODE.format(path=[str(place) for place in sys.path], function=function)
    with contextlib.suppress(subprocess.TimeoutExpired):
        # What else it prints is no answer and is not shown.
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, paths)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=WALL_SECONDS,
            check=False,
        )
        return [json.loads(line) for line in done.stdout.splitlines(keepends=True) if line.endswith(b"\n")]
    return []


def serve(function: str) -> None:
    """What the process runs: it prints an answer, a line each, for the paths that it is given."""
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    _limit()
    for path in sys.argv[1:]:
        print(json.dumps(call(Path(path))), flush=True)


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits.
        return
    for kind, most in ((resource.RLIMIT_CPU, CPU_SECONDS), (resource.RLIMIT_AS, ADDRESS_SPACE)):
        _, hard = resource.getrlimit(kind)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
