"""The processes of ``compare.py``: one implementation, loaded once, that draws whenever it is told to.

    python bench/compare_workers.py NAME MODEL SIZE STEPS FOLDER DTYPE

Reads lines from stdin; for each it draws one picture and prints {"step": seconds, "picture": seconds}. FOLDER
is where sd.cpp, which reads files alone, finds one; the NAME "file" writes it. DTYPE is for CPUs. The text
encoder is no part of a picture: every implementation is given an encoding, or remembers it after the first
picture (sd.cpp apart).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

NAME, MODEL, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[5])
SIZE, STEPS, DTYPE = int(sys.argv[3]), int(sys.argv[4]), sys.argv[6]
GUIDANCE = 7.5
PROMPT = "a red heart"
FILE = "random-sd2.1.safetensors"

Run = Callable[[], list[float]]
"""Draws one picture; the times at which its steps were done."""


def diffusers_run() -> Run:
    import diffusers
    import torch

    torch.set_grad_enabled(False)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    gpu = torch.cuda.is_available()
    dtype, device = (torch.float16, "cuda") if gpu else (getattr(torch, DTYPE), "cpu")
    if MODEL == "mini":
        import sdgen

        folder = Path(sdgen.__file__).parent / "models/data/sd-mini"
        unet = diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
        vae = diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae")
    else:
        from sdgen.cli.benchmark.random_models import configurations

        unet_config, _, vae_config = configurations("random-sd2.1")
        unet = diffusers.UNet2DConditionModel.from_config(unet_config)
        vae = diffusers.AutoencoderKL.from_config(vae_config)
    unet, vae = unet.to(device, dtype).eval(), vae.to(device, dtype).eval()
    if gpu:
        unet, vae = (part.to(memory_format=torch.channels_last) for part in (unet, vae))
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
    )
    if "compile" in NAME:
        unet = torch.compile(unet)
        if gpu:
            vae.decode = torch.compile(vae.decode)
    side = SIZE >> (len(vae.config.block_out_channels) - 1)
    context = torch.randn(2, 77, unet.config.cross_attention_dim).to(device, dtype)

    def now() -> float:
        if gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    def run() -> list[float]:
        scheduler.set_timesteps(STEPS)
        x, ticks = torch.randn(1, unet.config.in_channels, side, side).to(device, dtype), []
        for t in scheduler.timesteps:
            unconditional, conditional = unet(torch.cat([x, x]), t, context, return_dict=False)[0].chunk(2)
            guided = unconditional + GUIDANCE * (conditional - unconditional)
            x = scheduler.step(guided, t, x).prev_sample
            # With a GPU the host runs ahead; only the last step is waited for.
            ticks.append(time.perf_counter() if gpu and len(ticks) + 1 < STEPS else now())
        pixels = vae.decode(x / vae.config.scaling_factor, return_dict=False)[0]
        ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        return ticks

    return run


def sdgen_run() -> Run:
    from sdgen.cli.benchmark.measure import Settings, load
    from sdgen.pipeline.pipeline import Progress

    name = "mini" if MODEL == "mini" else "random-sd2.1"
    from sdgen import Request, backend

    framework = backend.activate("jax" if "jax" in NAME else "tensorflow")
    dtype = DTYPE if backend.find_device().startswith("cpu") else None
    pipeline = load(Settings(name, backend=framework, dtype=dtype))

    request = Request(prompt=PROMPT, seed=7, width=SIZE, height=SIZE, steps=STEPS, guidance=GUIDANCE)

    def run() -> list[float]:
        ticks: dict[int, float] = {}
        for event in pipeline.draw([pipeline.read(request)], 1, jit=True):
            if isinstance(event, Progress):
                ticks[event.step] = time.perf_counter()
            else:
                (image,) = pipeline.decode(event)
                assert image.error is None
        # Several steps may be one slice.
        done = sorted(ticks)
        return [ticks[next(step for step in done if step > i)] for i in range(STEPS)]

    return run


def keras_cv_run() -> Run:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import contextlib

    import keras
    import numpy as np
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU") or DTYPE == "bfloat16":
        keras.config.set_dtype_policy("mixed_bfloat16")
    import keras_cv

    with contextlib.redirect_stdout(sys.stderr):
        model = keras_cv.models.StableDiffusionV2(SIZE, SIZE, jit_compile=True)
        from keras_cv.src.models.stable_diffusion.decoder import Decoder
        from keras_cv.src.models.stable_diffusion.diffusion_model import DiffusionModelV2

        model._diffusion_model = DiffusionModelV2(SIZE, SIZE, 77, download_weights=False)
        model._decoder = Decoder(SIZE, SIZE, download_weights=False)
    for network in (model._diffusion_model, model._decoder):
        network.compile(jit_compile=True)
    ticks: list[float] = []
    predict = model._diffusion_model.predict_on_batch

    def timed(inputs: object) -> object:
        result = np.asarray(predict(inputs))
        ticks.append(time.perf_counter())
        return result

    model._diffusion_model.predict_on_batch = timed
    context = np.random.default_rng(0).standard_normal((77, 1024)).astype("float32")
    model._get_unconditional_context = lambda: context[None]

    def run() -> list[float]:
        ticks.clear()
        with contextlib.redirect_stdout(sys.stderr):
            model.generate_image(context, num_steps=STEPS, unconditional_guidance_scale=GUIDANCE, seed=7)
        return ticks[1::2]  # Two calls a step.

    return run


def sd_cpp_run() -> Run:
    from stable_diffusion_cpp import StableDiffusion

    ticks: list[float] = []
    model = StableDiffusion(
        model_path=str(FOLDER / FILE),
        wtype={"float32": "f32", "bfloat16": "bf16"}[DTYPE],
        verbose=False,
        n_threads=len(os.sched_getaffinity(0)),
    )

    def run() -> list[float]:
        ticks.clear()
        model.generate_image(
            prompt=PROMPT,
            width=SIZE,
            height=SIZE,
            sample_steps=STEPS,
            cfg_scale=GUIDANCE,
            sample_method="euler",
            seed=7,
            progress_callback=lambda step, steps, seconds: ticks.append(time.perf_counter()),
        )
        return ticks[-STEPS:]

    return run


def write_file() -> None:
    """The random checkpoint as a single file."""
    from sdgen import backend
    from sdgen.checkpoints.convert import write_single_file

    backend.activate(None)
    from sdgen.cli.benchmark.random_models import open_random

    write_single_file(open_random("random-sd2.1"), FOLDER / FILE, "float16")


def main() -> None:
    """Draw whenever a line comes."""
    if NAME == "file":
        write_file()
        return
    kinds = {"diffusers": diffusers_run, "sdgen": sdgen_run, "keras_cv": keras_cv_run, "sd.cpp": sd_cpp_run}
    run = kinds[NAME.split()[0].rstrip(",")]()
    for _ in sys.stdin:
        began = time.perf_counter()
        ticks = run()
        picture = time.perf_counter() - began
        # The first step may wait for what is made once a picture.
        step = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
        print(json.dumps({"step": step, "picture": picture}), flush=True)


if __name__ == "__main__":
    main()
