"""Text to image by two versions of sdgen, in turns in one run: whether one is slower, or draws anything else.

    git worktree add /tmp/before COMMIT
    python bench/versions.py /tmp/before [--after .] [--turns 7] [--steps 10]

Each version is a process that has the bundled model loaded and draws a picture whenever it is told to; what
else the machine does falls on both. The ratio is of the medians. The first picture is timed from the start of
a process, with programs that are compiled already, and pixels are compared by their sha256.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

WORKER = """
import hashlib, json, sys, time
import sdgen
pipeline = sdgen.load("mini", backend=sys.argv[1], device="cpu", dtype="float32", jit=True)
request = sdgen.Request(prompt="a red heart", seed=7, steps=int(sys.argv[2]))
while True:
    began = time.perf_counter()
    (image,) = pipeline.generate([request])
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "sha256": hashlib.sha256(image.pixels).hexdigest()}), flush=True)
    if not sys.stdin.readline():
        break
"""


class Version:
    """One version's process; its first picture is drawn when it is made."""

    def __init__(self, folder: Path, backend: str, steps: int) -> None:
        began = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(folder.resolve() / "src")}
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, backend, str(steps)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.sha256 = self._answer()["sha256"]
        self.first = time.perf_counter() - began

    def draw(self) -> float:
        """Seconds of a picture."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer()["seconds"])

    def end(self) -> None:
        """Lets the process go."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "a version's process ended"
        return dict(json.loads(line))


def main() -> None:
    """Print a line for the first picture, one for those after it, and one about the pixels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, help="a checkout of the version to compare with")
    parser.add_argument("--after", type=Path, default=Path(), help="that of the other; default: this folder")
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--starts", type=int, default=3)
    args = parser.parse_args()
    folders = {"before": args.before, "after": args.after}
    for folder in folders.values():  # compiles what is not yet on disk
        Version(folder, args.backend, args.steps).end()
    started: dict[str, list[float]] = {name: [] for name in folders}
    for _ in range(args.starts):
        for name, folder in folders.items():
            version = Version(folder, args.backend, args.steps)
            started[name].append(version.first)
            version.end()
    versions = {name: Version(folder, args.backend, args.steps) for name, folder in folders.items()}
    drawn: dict[str, list[float]] = {name: [] for name in versions}
    for _ in range(args.turns):
        for name, version in versions.items():
            drawn[name].append(version.draw())
    for what, times in (("first picture", started), ("picture", drawn)):
        before, after = (statistics.median(times[name]) for name in ("before", "after"))
        print(f"{what}: before {before:.3f} s, after {after:.3f} s, ratio {after / before:.3f}", flush=True)
    same = versions["before"].sha256 == versions["after"].sha256
    print(f"pixels: {'the same' if same else 'other'}")
    for version in versions.values():
        version.end()


if __name__ == "__main__":
    main()
