"""sdgen, diffusers, keras_cv and stable-diffusion.cpp: seconds a guided step and a picture, in one run.

    pip install -e '.[reference,jax]' && python bench/compare.py [--model mini|sd2.1] [--json]

    mini     the bundled model, 256x256, 25 steps
    sd2.1    Stable Diffusion 2.1's shapes with random weights, 256x256, 4 steps (512x512, 50 on a GPU)

Each implementation runs in a process of its own. One is measured at a time, in turns with diffusers, so that
what else the machine does falls on both; the ratio is of the medians of those turns. What is not installed
is left out and named. stable-diffusion.cpp: `pip install stable-diffusion-cpp-python`, which compiles it; if
it is in another environment, `--python sd.cpp=PATH`. keras_cv's networks and sd.cpp have Stable Diffusion's
own widths alone, so they are left out for the bundled model.

On a GPU diffusers runs in float16 with channels last, the rest in bfloat16; on the CPU all run in float32, or
with ``--dtype bfloat16`` in that (keras_cv by its policy mixed_bfloat16).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

ANCHOR = "diffusers"
IMPLEMENTATIONS = (
    "diffusers, torch.compile",
    "sdgen (tensorflow)",
    "sdgen (jax)",
    "keras_cv (tensorflow)",
    "sd.cpp",
)
NEEDS = {
    "diffusers": "diffusers",
    "diffusers, torch.compile": "diffusers",
    "sdgen (tensorflow)": "tensorflow",
    "sdgen (jax)": "jax",
    "keras_cv (tensorflow)": "keras_cv",
    "sd.cpp": "stable_diffusion_cpp",
}
ONE_ARCHITECTURE = ("keras_cv (tensorflow)", "sd.cpp")
PACKAGES = ("torch", "diffusers", "tensorflow", "jax", "keras", "keras-cv", "stable-diffusion-cpp-python")
WORKERS = Path(__file__).with_name("compare_workers.py")


class Worker:
    """An implementation in a process of its own, loaded and compiled."""

    def __init__(self, name: str, options: argparse.Namespace, folder: Path) -> None:
        python = dict(text.split("=", 1) for text in options.python).get(name.split()[0], sys.executable)
        job = [options.model, str(options.size), str(options.steps), str(folder), options.dtype]
        if name == "sd.cpp":
            subprocess.run([sys.executable, str(WORKERS), "file", *job], check=True, capture_output=True)
        # Several of them share one accelerator.
        environment = os.environ | {
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        self._process = subprocess.Popen(
            [python, str(WORKERS), name, *job],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if options.verbose else subprocess.DEVNULL,
        )
        self.first = self.run()["picture"]

    def run(self) -> dict[str, float]:
        """Seconds of one ``step`` and one ``picture``."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):
                seconds: dict[str, float] = json.loads(line)
                return seconds
        raise RuntimeError(f"it ended with status {self._process.wait()}; --verbose shows why")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def compare(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """A row for each implementation, as it is measured."""
    with tempfile.TemporaryDirectory() as folder:
        anchor = Worker(ANCHOR, options, Path(folder))
        try:
            yield row(ANCHOR, anchor, anchor, options.rounds)
            for name in options.only or IMPLEMENTATIONS:
                if reason := left_out(name, options):
                    yield {"implementation": name, "left_out": reason}
                    continue
                try:
                    worker = Worker(name, options, Path(folder))
                except RuntimeError as error:
                    yield {"implementation": name, "left_out": str(error)}
                    continue
                try:
                    yield row(name, worker, anchor, options.rounds)
                finally:
                    worker.close()
        finally:
            anchor.close()


def row(name: str, worker: Worker, anchor: Worker, rounds: int) -> dict[str, object]:
    """Medians of an implementation and their ratios to the anchor's, which it takes turns with."""
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(anchor.run())
        ours.append(worker.run() if worker is not anchor else theirs[-1])
    report: dict[str, object] = {"implementation": name, "first_picture": worker.first}
    for part in ("step", "picture"):
        seconds, base = ([run[part] for run in runs] for runs in (ours, theirs))
        report[part] = statistics.median(seconds)
        report[f"{part}_least"] = min(seconds)
        report[f"{part}_ratio"] = statistics.median(seconds) / statistics.median(base)
        report[f"{part}_least_ratio"] = min(seconds) / min(base)
    return report


def left_out(name: str, options: argparse.Namespace) -> str | None:
    """Why an implementation cannot be measured here."""
    if options.model == "mini" and name in ONE_ARCHITECTURE:
        return "it has Stable Diffusion's widths alone"
    elsewhere = any(text.startswith(f"{name.split()[0]}=") for text in options.python)
    if not elsewhere and importlib.util.find_spec(NEEDS[name]) is None:
        return f"{NEEDS[name]} is not installed"
    return None


def on_gpu() -> bool:
    """Whether PyTorch, which is the anchor, sees a GPU."""
    import torch

    return bool(torch.cuda.is_available())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", choices=("mini", "sd2.1"), default="mini")
    parser.add_argument("--size", type=int, help="pixels of a side")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="on a CPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=IMPLEMENTATIONS, help="repeatable")
    parser.add_argument(
        "--python", action="append", default=[], metavar="NAME=PATH", help="another interpreter"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="what the processes write to stderr")
    options = parser.parse_args()
    gpu = on_gpu()
    large = options.model == "sd2.1" and gpu
    options.size = options.size or (512 if large else 256)
    options.steps = options.steps or (25 if options.model == "mini" else 50 if large else 4)
    versions = {}
    for package in PACKAGES:
        if importlib.util.find_spec(package.replace("-python", "").replace("-", "_")):
            versions[package] = metadata.version(package)
    print(
        f"{options.model}, {options.size}x{options.size}, {options.steps} guided steps, "
        f"{'half precision' if gpu else options.dtype}; {versions}",
        flush=True,
    )
    print(f"{'':26} {'first, s':>9} {'step, s':>9} {'ratio':>6} {'least':>6} {'picture, s':>11} {'ratio':>6}")
    rows = []
    for found in compare(options):
        rows.append(found)
        name = found["implementation"]
        if "left_out" in found:
            print(f"{name:26} left out: {found['left_out']}", flush=True)
            continue
        print(
            f"{name:26} {found['first_picture']:9.1f} {found['step']:9.4f} {found['step_ratio']:6.2f} "
            f"{found['step_least_ratio']:6.2f} {found['picture']:11.3f} {found['picture_ratio']:6.2f}",
            flush=True,
        )
    if options.json:
        print(json.dumps({"size": options.size, "steps": options.steps, "versions": versions, "rows": rows}))


if __name__ == "__main__":
    main()
