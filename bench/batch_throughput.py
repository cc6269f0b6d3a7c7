"""Images a second of ``sdgen batch`` on this machine, against drawing and storing one image after the other.

    python bench/batch_throughput.py [--images 64] [--steps 25] [--size 256] [--rounds 2] [--backend jax]

The bundled model; everything is compiled beforehand, and each way draws the same prompts. The ways take
turns, so that what else the machine does falls on all alike. Processor seconds an image say how much work a
way is; cores say how many of them were busy meanwhile. Where those are all that there are, a way with as
much work cannot be faster.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sdgen
from sdgen.batch.batch_folder import BatchFolder
from sdgen.batch.feeds import Feed
from sdgen.batch.outcomes import Outcome
from sdgen.batch.policy import Policy
from sdgen.batch.renderer import Renderer
from sdgen.batch.tasks import Task
from sdgen.images.image_files import Output
from sdgen.pipeline.pipeline import Pipeline
from sdgen.request import Request

BATCH_SIZES = (1, 2, 4, 8)


def one_after_the_other(pipeline: Pipeline, requests: list[Request], folder: Path) -> None:
    """What somebody does who draws single images with a loaded model."""
    output = Output(folder)
    output.prepare(len(requests), 1)
    for request in requests:
        for image in pipeline.generate([request], 1):
            output.save(image)


def batched(pipeline: Pipeline, requests: list[Request], folder: Path, size: int) -> None:
    """What ``sdgen batch --batch-size SIZE`` does once the model is loaded."""
    store = BatchFolder(folder)
    store.prepare(len(requests), 1)
    renderer = Renderer(lambda model: pipeline, store, Policy(size))
    tasks = [Task(request, number) for number, request in enumerate(requests, 1)]
    drawn = sum(isinstance(event, Outcome) for event in renderer.run(Feed(tasks)))
    assert drawn == len(requests)


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--backend", default="tensorflow")
    args = parser.parse_args()
    pipeline = sdgen.load("mini", jit=True, backend=args.backend)
    shape = {"steps": args.steps, "width": args.size, "height": args.size, "model": "mini"}
    requests = [Request(prompt=f"a red heart {n}", seed=n, **shape) for n in range(args.images)]
    ways: dict[str, Callable[[list[Request], Path], None]] = {
        "one after the other": lambda some, folder: one_after_the_other(pipeline, some, folder)
    }
    for size in BATCH_SIZES:
        ways[f"batch of {size}"] = lambda some, folder, size=size: batched(pipeline, some, folder, size)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{args.images} images of {args.size}x{args.size}, {args.steps} steps, {cores} cores", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds + 1):
            for way, run in ways.items():
                # The round before the first compiles, and encodes the prompts.
                some = requests if number else requests[: max(BATCH_SIZES)]
                began, processor = time.perf_counter(), time.process_time()
                run(some, Path(folder, f"{number} {way}"))
                seconds, processor = time.perf_counter() - began, time.process_time() - processor
                if number:
                    rates[way].append(len(some) / seconds)
                    print(
                        f"{number}  {way:<20} {len(some) / seconds:.3f} images/s, "
                        f"{processor / len(some):.2f} processor seconds an image, "
                        f"{processor / seconds:.2f} cores",
                        flush=True,
                    )
    single = statistics.median(rates["one after the other"])
    for way, found in rates.items():
        rate = statistics.median(found)
        print(f"{way:<20} {rate:.3f} images/s, {rate / single:.2f} times", flush=True)


if __name__ == "__main__":
    main()
