"""What batches are worth to a server: images a second and latencies, with and without them.

    python bench/serve.py [--images 96] [--clients 1 8 32] [--shapes 2] [--faster 4]

The server is ``sdgen serve``'s, on the loopback; what it draws with only takes the time that an H100 takes
for a batch of SD 2.1 at 512x512 and 50 steps (docs/performance.md), divided by ``--faster``. So it measures
the scheduling and the HTTP around it. Each client asks for one picture after the other; clients ask for
``--shapes`` sizes in turn. At last 200 clients ask at once, for more than may wait.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import requests

from sdgen import models
from sdgen.batch.policy import Policy
from sdgen.images.image import Image
from sdgen.pipeline.engine import Engine
from sdgen.pipeline.results import Denoised, Job, Progress
from sdgen.pipeline.watching import Watch
from sdgen.request import Request
from sdgen.serve import server
from sdgen.serve.drawer import Drawer
from sdgen.serve.metrics import Metrics
from sdgen.serve.service import Service
from sdgen.serve.settings import Limits, Settings

SECONDS = {1: 0.363, 8: 8 * 0.24}
"""Of a program for so many images on the H100; between them a straight line."""

STEPS = 10
CALL = "/v1/images/generations"


class Timed(Engine):
    """Draws grey, in the time that a batch takes."""

    engine, backend, device, dtype, low_memory = "timed", "jax", "gpu:0", "bfloat16", False
    entry = models.find("mini")
    compilations, size_multiple = 0, 8

    def __init__(self, faster: float) -> None:
        self._faster = faster

    def resolve(self, request: Request) -> Request:
        return request.replace(steps=STEPS, guidance=7.5, sampler="ddim", schedule="normal")

    def read(self, request: Request) -> Job:
        resolved = self.resolve(request)
        return Job(resolved, (resolved.height, resolved.width))

    def draw(
        self, jobs: Sequence[Job], size: int, jit: bool, watch: Watch | None = None
    ) -> Iterator[Progress | Denoised]:
        (least, first), (most, last) = SECONDS.items()
        seconds = (first + (last - first) * (size - least) / (most - least)) / self._faster
        for step in range(STEPS):
            time.sleep(seconds / STEPS)
            yield Progress(step + 1, STEPS, len(jobs))
        yield Denoised(tuple(jobs), None, seconds / len(jobs), {"batch_size": size})

    def decode(self, batch: Denoised) -> Iterator[Image]:
        for job in batch.jobs:
            pixels = np.full((job.request.height or 8, job.request.width or 8, 3), 128, np.uint8)
            yield Image(job.request, pixels, batch.seconds, None, (), dict(batch.details))

    def pays_to_compile(self, requests: Any, batch_size: int | None = None) -> bool:
        return True

    def in_float32(self) -> None:
        return None


@contextlib.contextmanager
def serving(batch: int, faster: float, waiting: int) -> Iterator[str]:
    """The URL of a server that draws up to ``batch`` images at once."""
    metrics = Metrics()
    drawer = Drawer(lambda model: Timed(faster), Policy(batch), waiting, metrics.drawn)
    settings = Settings(models=("mini",), limits=Limits(waiting=waiting))
    running = server.Server(Service(settings, drawer, metrics), grace=5)
    listening = server.listen("127.0.0.1", 0)
    thread = threading.Thread(target=running.run, args=([listening],))
    url = server.url_of(listening)
    drawer.start()
    thread.start()
    try:
        yield url
    finally:
        running.should_exit = True
        thread.join()
        drawer.stop(10)


def load(url: str, clients: int, images: int, shapes: int) -> tuple[float, list[float]]:
    """Images a second, and the seconds that each call took, of clients that never rest."""
    latencies: list[float] = []

    def client(number: int) -> None:
        with requests.Session() as session:
            for _ in range(max(1, images // clients)):
                began = time.perf_counter()
                size = f"64x{64 + 8 * (number % shapes)}"
                answer = session.post(url + CALL, json={"prompt": "grey", "size": size}, timeout=600)
                answer.raise_for_status()
                latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(latencies) / (time.perf_counter() - began), sorted(latencies)


def at_once(url: str, clients: int) -> Counter[int]:
    """How many of so many calls at once had each status."""
    statuses: Counter[int] = Counter()

    def client(number: int) -> None:
        size = f"64x{64 + 8 * (number % 3)}"
        answer = requests.post(url + CALL, json={"prompt": "grey", "size": size}, timeout=600)
        statuses[answer.status_code] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def main() -> None:
    """Print a line for each number of clients, with batches and without."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--shapes", type=int, default=2)
    parser.add_argument("--faster", type=float, default=4.0)
    args = parser.parse_args()
    print(f"clients  batches  images/s  p50 s  p95 s   (times are the H100's / {args.faster:g})")
    for clients in args.clients:
        rates = {}
        for batch in (1, 8):
            with serving(batch, args.faster, waiting=1000) as url:
                rates[batch], seconds = load(url, clients, args.images, args.shapes)
            p50, p95 = statistics.median(seconds), seconds[int(0.95 * (len(seconds) - 1))]
            print(f"{clients:7}  {batch:7}  {rates[batch]:8.2f}  {p50:.3f}  {p95:.3f}", flush=True)
        print(f"{clients:7}  batches are worth {rates[8] / rates[1]:.2f} times", flush=True)
    with serving(8, args.faster, waiting=64) as url:
        statuses = at_once(url, 200)
    print(f"200 at once where 64 may wait: {dict(sorted(statuses.items()))}")


if __name__ == "__main__":
    main()
