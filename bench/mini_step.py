"""Warm time of a guided step and of a whole picture with the bundled model: sdgen against diffusers.

    pip install -e '.[reference,jax]' && python bench/mini_step.py [--compile]

25 DDIM steps, 256x256, guidance, float32, decoding included, on the CPU. The implementations take turns
in one process, so that what else the machine does falls on all alike; the ratio is of medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import diffusers
import torch

import sdgen

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--compile", action="store_true", help="also diffusers with a torch.compile'd UNet")
parser.add_argument("--backend", default="tensorflow")
parser.add_argument("--rounds", type=int, default=7)
parser.add_argument("--steps", type=int, default=25)
args = parser.parse_args()

MODEL = Path(sdgen.__file__).parent / "data/sd-mini"
CORES = len(os.sched_getaffinity(0))
torch.set_grad_enabled(False)
torch.set_num_threads(CORES)


def diffusers_run(compiled: bool):
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(MODEL, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    if compiled:
        pipe.unet = torch.compile(pipe.unet)
    generator = torch.Generator("cpu")

    def run() -> float:
        ticks = []
        pipe(
            "a red heart",
            num_inference_steps=args.steps,
            guidance_scale=5.0,
            generator=generator.manual_seed(7),
            callback_on_step_end=lambda *a: ticks.append(time.perf_counter()) or {},
        )
        return (ticks[-1] - ticks[0]) / (len(ticks) - 1)

    return run


def sdgen_run():
    pipeline = sdgen.load("mini", backend=args.backend, device="cpu", jit=True)
    request = sdgen.Request(prompt="a red heart", seed=7, steps=args.steps, guidance=5.0, rng="torch")

    def run() -> float:
        (image,) = pipeline.generate([request])
        return image.details["denoise_seconds"] / args.steps

    return run


runs = {"diffusers": diffusers_run(False), f"sdgen ({args.backend})": sdgen_run()}
if args.compile:
    runs["diffusers, torch.compile"] = diffusers_run(True)
steps: dict[str, list[float]] = {name: [] for name in runs}
pictures: dict[str, list[float]] = {name: [] for name in runs}
for name, run in runs.items():
    began = time.perf_counter()
    run()
    print(f"{name}: first picture {time.perf_counter() - began:.1f} s", flush=True)
for _ in range(args.rounds):
    for name, run in runs.items():
        began = time.perf_counter()
        steps[name].append(run())
        pictures[name].append(time.perf_counter() - began)
packages = ("torch", "diffusers", "tensorflow", "jax", "keras", "keras-cv")
print(f"{CORES} cores; " + ", ".join(f"{name} {version(name)}" for name in packages))
base_step, base_picture = (statistics.median(times["diffusers"]) for times in (steps, pictures))
for name in runs:
    step, picture = statistics.median(steps[name]), statistics.median(pictures[name])
    print(
        f"{name:26} step {step:.4f} s (ratio {step / base_step:.2f}, least {min(steps[name]):.4f})  "
        f"picture {picture:.2f} s (ratio {picture / base_picture:.2f})"
    )
