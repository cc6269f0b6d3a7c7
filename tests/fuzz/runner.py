"""Runs targets in bounds and gathers findings.

A finding is an exception that is not sdgen's own, an answer after more than ``MAX_SECONDS`` of processor time
(or ``MAX_WALL_SECONDS`` of waiting), more than ``MAX_BYTES`` of memory beyond what the process had at first,
a crash, or a file outside the input's folder that was changed, or that was read in the folder around it.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_SECONDS = 5
"""On the machine that the bound was set on; a slower one has longer, by how much slower it is."""
MAX_WALL_SECONDS = 60
"""On a machine that does much else; what waits for ever uses no processor time."""
MAX_BYTES = 1 << 30
_FIXED_WORK_SECONDS = 0.057
"""What ``slowness`` measures on the machine that the bounds were set on, with nothing beside it."""

Maker = Callable[[random.Random, Path], None]
"""Writes an input into an empty folder."""


@dataclass(frozen=True)
class Finding:
    """What a target should not have done.

    Attributes:
        kind: "exception", "time", "memory", "crash" or "outside".
        detail: the traceback, or what else is known.
        folder: the input, kept.
    """

    kind: str
    detail: str
    folder: Path


@functools.cache
def slowness() -> float:
    """How many times as long this machine takes for some fixed work, at least 1.

    The work is of the kinds that answers are made of: inflating, hashing, and Python.
    """
    packed = zlib.compress(random.Random(0).randbytes(1 << 16) * 256, 1)
    taken = []
    for _ in range(3):
        began = time.process_time()
        hashlib.sha256(zlib.decompress(packed)).digest()
        sum(number * number for number in range(500_000))
        taken.append(time.process_time() - began)
    return max(1.0, max(taken) / _FIXED_WORK_SECONDS)


class Target:
    """A target in a process of its own; a context manager.

    Args:
        name: "module:function", importable from tests/.
        seconds: of processor time that an answer may take.
        wall_seconds: how long it may take in all.
    """

    def __init__(
        self, name: str, seconds: float = MAX_SECONDS, wall_seconds: float = MAX_WALL_SECONDS
    ) -> None:
        path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.worker", name, str(seconds * slowness()), str(wall_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def __call__(self, folder: Path) -> tuple[Finding | None, str]:
        """What is wrong with the answer to one input, if anything, and the answer."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(str(folder)) + "\n")
        self._process.stdin.flush()
        outcome = json.loads(self._process.stdout.readline())
        detail = outcome["detail"]
        return (None if outcome["kind"] == "fine" else Finding(outcome["kind"], detail, folder)), detail


def inputs(count: int, seconds: float | None = None) -> Iterator[int]:
    """Numbers of inputs: the first ``count``, or those to which ``seconds`` are enough; at least one."""
    end = None if seconds is None else time.monotonic() + seconds
    for number in itertools.count():
        if number and (number >= count if end is None else time.monotonic() >= end):
            return
        yield number


def fuzz(
    name: str, make: Maker, work: Path, numbers: Iterable[int], seed: int, most: int = 5
) -> list[Finding]:
    """Findings, the first ``most``, among the inputs of these numbers that ``make`` writes.

    Input ``n`` depends on the seed and ``n`` alone: the same seed gives the same inputs. Inputs of findings
    stay in ``work``, which is named in them.
    """
    findings: list[Finding] = []
    with Target(name) as target:
        for number in numbers:
            if len(findings) == most:
                break
            folder = work / f"input-{seed}-{number}"
            folder.mkdir(parents=True)
            make(random.Random(f"{seed} {number}"), folder)
            finding, _ = target(folder)
            if finding:
                findings.append(finding)
            else:
                shutil.rmtree(folder)
    return findings
