"""Where the sampling loop's time goes, by kind of kernel, from JAX's profiler.

    python bench/step_profile.py [--model random-sd2.1] [--size 512] [--steps 50] [--batch-size 1,8]

Weights are random, so nothing is downloaded. On a GPU the kernels of all streams are counted; on a CPU,
where XLA's threads share an operation, the numbers are processor time.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections import Counter
from pathlib import Path

KINDS = {
    "attention": r"sdpa|fmha|flash",
    "convolutions": r"conv(?!ert)|fprop|implicit_gemm|winograd",
    "matrix products": r"gemm|nvjet|cutlass|\bdot|^dot|ynn_fusion",
    "sums": r"reduce",
    "slices, joins, transposes, copies": r"slice|concatenate|transpose|copy|memcpy|memset|pad|gather|bitcast",
}
"""Kind -> what the kernels' names have in common; the first that fits counts, and the rest is elementwise."""


def kind(kernel: str) -> str:
    """The kind of a kernel by its name."""
    name = kernel.lower()
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name)), "elementwise")


def kernels(folder: str) -> tuple[Counter[str], Counter[str]]:
    """Milliseconds and launches of every kernel of a trace."""
    from jax.profiler import ProfileData

    times, launches = Counter(), Counter()
    for file in Path(folder).glob("**/*.xplane.pb"):
        for plane in ProfileData.from_file(str(file)).planes:
            for line in plane.lines:
                if ("GPU" in plane.name and "Stream" in line.name) or line.name.startswith("tf_XLA"):
                    for event in line.events:
                        if is_kernel(plane.name, event):
                            times[event.name] += event.duration_ns / 1e6
                            launches[event.name] += 1
    return times, launches


def is_kernel(plane: str, event: object) -> bool:
    """Whether an event of a trace is an operation: a CPU's threads also tell what they wait for."""
    return "GPU" in plane or any(name == "hlo_op" for name, _ in event.stats)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", choices=("random-sd2.1", "random-sd1.5"), default="random-sd2.1")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", default="1,8")
    parser.add_argument("--top", type=int, default=20, help="kernels to list")
    options = parser.parse_args()

    import jax

    from sdgen import Pipeline, Request
    from sdgen.cli.benchmark.random_models import entry, open_random
    from sdgen.pipeline.loading import activate
    from sdgen.pipeline.results import Denoised

    device, dtype = activate("jax", None, None)
    pipeline = Pipeline(open_random(options.model), entry(options.model), dtype, device)
    request = Request(prompt="a red fox", steps=options.steps, width=options.size, height=options.size)
    print(f"{options.model}, {options.size} pixels, {options.steps} steps, {dtype}, jax {jax.__version__}")
    print(jax.devices()[0].device_kind)

    def loop(batch: int) -> float:
        jobs = [pipeline.read(request.replace(seed=seed)) for seed in range(batch)]
        began = time.perf_counter()
        assert any(isinstance(event, Denoised) for event in pipeline.draw(jobs, batch, jit=True))
        return 1e3 * (time.perf_counter() - began)

    for batch in map(int, options.batch_size.split(",")):
        loop(batch)  # Compiles.
        clock = min(loop(batch) for _ in range(3))
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                loop(batch)
            times, launches = kernels(folder)
        kinds: Counter[str] = Counter()
        for name, spent in times.items():
            kinds[kind(name)] += spent
        print(
            f"\nbatch of {batch}: {clock / options.steps:.2f} ms a step on the clock, "
            f"{times.total() / options.steps:.2f} in {launches.total() / options.steps:.0f} kernels"
        )
        for name, spent in kinds.most_common():
            print(f"{spent / options.steps:9.3f} ms  {name}")
        for name, spent in times.most_common(options.top):
            print(f"{spent / options.steps:9.3f} ms {launches[name] / options.steps:7.1f} times  {name[:90]}")


if __name__ == "__main__":
    main()
