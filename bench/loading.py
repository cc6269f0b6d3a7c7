"""Seconds and memory until a checkpoint's UNet is ready, after imports.

    python bench/loading.py [--backend tensorflow] [--rounds 3] MODEL

MODEL is a diffusers folder or a file. A process for each round; the first one warms the page cache.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

WORKER = """
import resource, sys, time
from sdgen import backend
backend.activate(sys.argv[2])
from sdgen.checkpoints import open_checkpoint
from sdgen.pipeline.model_networks import Networks
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
unet = Networks(open_checkpoint(sys.argv[1]), "float32", "cpu:0", "cpu:0").diffusion_model
seconds = time.perf_counter() - began
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
size = 4 * unet.count_params()
print(f"{seconds:.2f} s; peak memory {peak / size:.2f} times the {size / 1e9:.2f} GB of weights")
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for _ in range(options.rounds + 1):
        subprocess.run([sys.executable, "-c", WORKER, options.model, options.backend], check=True)
        time.sleep(2)


if __name__ == "__main__":
    main()
