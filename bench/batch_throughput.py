"""Images a second of ``sdgen batch`` on this machine, against drawing and storing one image after the other.

    python bench/batch_throughput.py [IMAGES [STEPS [SIZE]]]

Everything is compiled beforehand; each way draws the same prompts with the bundled model.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import sdgen
from sdgen.batch_folder import BatchFolder
from sdgen.outcomes import Outcome
from sdgen.output import Output
from sdgen.render import Policy, Renderer
from sdgen.request import Request
from sdgen.tasks import Feed, Task

BATCH_SIZES = (1, 2, 4, 8)


def main() -> None:
    """Print a line for each way."""
    images, steps, size = (int(text) for text in (*sys.argv[1:], *("64", "25", "256")[len(sys.argv) - 1 :]))
    pipeline = sdgen.load("mini", jit=True)
    shape = {"steps": steps, "width": size, "height": size, "model": "mini"}
    requests = [Request(prompt=f"a red heart {n}", seed=n, **shape) for n in range(images)]
    with tempfile.TemporaryDirectory() as folder:
        list(pipeline.generate(requests[:1]))
        began = time.perf_counter()
        output = Output(Path(folder, "single"))
        output.prepare(images, 1)
        for request in requests:
            for image in pipeline.generate([request], 1):
                output.save(image)
        single = images / (time.perf_counter() - began)
        print(f"one after the other  {single:.3f} images/s")
        for batch in BATCH_SIZES:
            list(pipeline.generate(requests[:batch], batch))
            store = BatchFolder(Path(folder, str(batch)))
            store.prepare(images, 1)
            renderer = Renderer(lambda model: pipeline, store, Policy(batch))
            tasks = [Task(request, number) for number, request in enumerate(requests, 1)]
            began = time.perf_counter()
            assert sum(isinstance(event, Outcome) for event in renderer.run(Feed(tasks))) == images
            rate = images / (time.perf_counter() - began)
            print(f"batch of {batch:<2}          {rate:.3f} images/s, {rate / single:.2f} times", flush=True)


if __name__ == "__main__":
    main()
