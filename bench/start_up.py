"""Seconds from the shell prompt to the file with the bundled model, and to an answer without a picture.

    python bench/start_up.py [--rounds 3] [--backend tensorflow] [--steps 25]

cold  nothing is compiled or cached: an empty cache folder each time
warm  after `sdgen warmup --model mini`, in the same cache folder

The rounds take turns. Every time is that of a whole process, printed as the least and the median.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

ANSWERS = {
    "sdgen --help": ["--help"],
    "a wrong option": ["a red heart", "--steps", "0"],
    "a model that is not here": ["a red heart", "--model", "nowhere/nothing"],
    "a prompts file that is not there": ["batch", "nowhere.txt"],
}


def seconds(arguments: list[str], folder: str) -> float:
    """The time that one command takes; its results are thrown away."""
    environment = {**os.environ, "SDGEN_CACHE_DIR": folder}
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "sdgen", *arguments], env=environment, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--steps", type=int, default=25)
    options = parser.parse_args()
    model = ["--model", "mini", "--backend", options.backend]
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as warm:
        print(f"warmup: {seconds(['warmup', *model], warm):.2f} s", flush=True)
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as cold:
                for name, folder in (("cold", cold), ("warm", warm)):
                    picture = Path(cold, f"{name}.png")
                    drawing = ["a red heart", *model, "--steps", str(options.steps), "-o", str(picture)]
                    times.setdefault(name, []).append(seconds(drawing, folder))
                    assert picture.exists(), name
            for name, arguments in ANSWERS.items():
                times.setdefault(name, []).append(seconds(arguments, warm))
    packages = ("tensorflow", "jax", "keras") if options.backend == "jax" else ("tensorflow", "keras")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    print(f"{options.steps} steps; {versions}")
    for name, values in times.items():
        print(f"{name:34} least {min(values):6.2f} s, median {statistics.median(values):6.2f} s")


if __name__ == "__main__":
    main()
