"""Peak memory of drawing with Stable Diffusion 2.1's shapes, with and without --low-memory, and of its VAE.

    python bench/memory.py [--backend jax|tensorflow] [--size 2048] [CASE ...]

Random weights, no download. Each case is a process of its own: the peak is its device's, or on a CPU the
process's resident memory. ``plan``, ``plan-decode`` and ``plan-encode`` compute nothing: they compile the
programs with JAX for the device and add up the weights and what XLA sets aside.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from sdgen import Request, backend
from sdgen.pipeline import loading
from sdgen.pipeline.pipeline import Pipeline

MODEL = "random-sd2.1"


def load(args: argparse.Namespace, low_memory: bool) -> Pipeline:
    device, dtype = loading.activate(args.backend, args.device, args.dtype)
    from sdgen.cli.benchmark import random_models

    checkpoint, entry = random_models.open_random(MODEL), random_models.entry(MODEL)
    return Pipeline(checkpoint, entry, dtype, device, low_memory=low_memory)


def draw(args: argparse.Namespace, low_memory: bool) -> str:
    pipeline = load(args, low_memory)
    requests = [Request(prompt=f"a red heart, number {n}", seed=n, steps=args.steps) for n in range(2)]
    images = list(pipeline.generate(requests, batch_size=1))
    assert not any(image.error for image in images), images[0].error
    return f"512x512, {args.steps} steps, {images[-1].seconds:.2f} s"


def decode(args: argparse.Namespace, way: str) -> str:
    device, dtype = loading.activate(args.backend, args.device, args.dtype)
    from sdgen.cli.benchmark import random_models
    from sdgen.pipeline.decoding import PictureDecoder
    from sdgen.pipeline.model_networks import Networks

    with backend.on_device(device):
        networks = Networks(random_models.open_random(MODEL), dtype, device, device)
        decoder = PictureDecoder(networks, jit=True, low_memory=False)
        decoder.way = lambda height, width: way  # type: ignore[method-assign]
        side = args.size // networks.vae_config.downsampling
        latents = np.random.default_rng(0).standard_normal((1, side, side, 4), np.float32)
        decoder(latents)
        began = time.perf_counter()
        _, error = decoder(latents)
        assert error is None, error
    return f"{args.size}x{args.size}, {time.perf_counter() - began:.2f} s"


def encode(args: argparse.Namespace, way: str) -> str:
    device, dtype = loading.activate(args.backend, args.device, args.dtype)
    from sdgen.cli.benchmark import random_models
    from sdgen.pipeline.model_networks import Networks
    from sdgen.pipeline.picture_encoding import PictureEncoder

    networks = Networks(random_models.open_random(MODEL), dtype, device, device)
    encoder = PictureEncoder(networks, jit=True, low_memory=False)
    encoder.way = lambda height, width: way  # type: ignore[method-assign]
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, args.size, args.size, 3)).astype(np.float32)
    encoder(pixels)
    began = time.perf_counter()
    encoder(pixels)
    return f"{args.size}x{args.size}, {time.perf_counter() - began:.2f} s"


def plan(args: argparse.Namespace) -> str:
    """Sizes without drawing; JAX alone says them."""
    pipeline = load(args, low_memory=True)
    from sdgen.pipeline.loop_arguments import WINDOW

    networks, denoiser = pipeline.networks, pipeline._runners().denoiser
    side = 64

    def weights(model: Any) -> float:
        return float(sum(value.size * value.dtype.itemsize for value in model.weights_by_name.values()))

    unet, decoder = networks.diffusion_model, networks.decoder
    context = np.zeros((2, 77, networks.unet_config.cross_attention_dim), np.float32)
    keys_values = unet.network.project_context(unet.weights_by_name, context)
    shifts = denoiser._embed(np.zeros((WINDOW, 1), np.float32))
    window = {
        "p": np.zeros((WINDOW, 1), np.float32),
        "q": np.zeros((WINDOW, 1), np.float32),
        "mix": np.zeros((WINDOW, 1, 4, 5), np.float32),
        "shifts": shifts,
    }
    state = np.zeros((4, 1, side, side, networks.unet_config.in_channels), np.float32)
    guidance, bound = np.zeros((1, 2), np.float32), np.asarray(0, np.int32)
    loop = temporary(
        pipeline.device,
        denoiser._run_rows,
        unet.weights_by_name,
        state,
        window,
        keys_values,
        guidance,
        bound,
        bound,
    )
    decoding = temporary(
        pipeline.device, decoder.network, decoder.weights_by_name, np.zeros((1, side, side, 4), np.float32)
    )
    sizes = {
        "UNet": weights(unet),
        "decoder": weights(decoder),
        "sampling loop": loop,
        "decoding": decoding,
        "(text encoder, on the host": weights(networks.text_encoder),
    }
    parts = ", ".join(f"{name} {gib(size)}" for name, size in sizes.items())
    held, most = sizes["UNet"] + sizes["decoder"], max(loop, decoding)
    return f"{pipeline.dtype}: {parts}), so at most {gib(held + most)}"


def plan_decode(args: argparse.Namespace) -> str:
    """What XLA sets aside for a decoder, whole and by rows; JAX alone says it."""
    from sdgen.networks.vae_rows import decode_by_rows

    side = args.size // 8
    return _plan_vae(args, "decoder", lambda network: network, decode_by_rows, (1, side, side, 4))


def plan_encode(args: argparse.Namespace) -> str:
    """As ``plan_decode``, for an encoder."""
    from sdgen.networks.vae_rows import encode_by_rows

    pixels = (1, args.size, args.size, 3)
    return _plan_vae(args, "image_encoder", lambda network: network.posterior, encode_by_rows, pixels)


def _plan_vae(
    args: argparse.Namespace,
    half: str,
    at_once: Callable[[Any], Callable[..., Any]],
    by_rows: Callable[..., Any],
    shape: tuple[int, ...],
) -> str:
    device, dtype = loading.activate(args.backend, args.device, args.dtype)
    from sdgen.cli.benchmark import random_models
    from sdgen.pipeline.model_networks import Networks

    with backend.on_device(device):
        model = getattr(Networks(random_models.open_random(MODEL), dtype, device, device), half)
    network, weights, given = model.network, model.weights_by_name, np.zeros(shape, np.float32)
    whole = temporary(device, at_once(network), weights, given)
    rows = temporary(device, lambda w, x: by_rows(network, w, x), weights, given)
    return f"{args.size}x{args.size}, {dtype}: whole {gib(whole)}, by rows {gib(rows)}"


def temporary(device: str, function: Callable[..., Any], *arguments: Any) -> float:
    """Bytes that XLA sets aside for a function of arguments of these shapes, beside what they take."""
    import jax

    def shape(value: Any) -> Any:
        return jax.ShapeDtypeStruct(np.shape(value), getattr(value, "dtype", np.asarray(value).dtype))

    with backend.on_device(device):
        compiled = jax.jit(function).lower(*jax.tree.map(shape, arguments)).compile()
    return float(compiled.memory_analysis().temp_size_in_bytes)


def gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"


CASES: dict[str, Callable[[argparse.Namespace], str]] = {
    "plan": plan,
    "plan-decode": plan_decode,
    "plan-encode": plan_encode,
    "draw": lambda args: draw(args, low_memory=False),
    "low-memory": lambda args: draw(args, low_memory=True),
    "decode-whole": lambda args: decode(args, "whole"),
    "decode-rows": lambda args: decode(args, "rows"),
    "encode-whole": lambda args: encode(args, "whole"),
    "encode-rows": lambda args: encode(args, "rows"),
}


def main() -> None:
    """Run each case in a process, or the one that a process was started for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"default: {', '.join(CASES)}")
    parser.add_argument("--backend", default="jax")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--size", type=int, default=2048, help="pixels of a side, for decoding")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.cases) - set(CASES):
        parser.error(f"the cases are {', '.join(CASES)}, not {', '.join(sorted(unknown))}")
    if args.here:
        (case,) = args.cases
        result = CASES[case](args)
        device = backend.find_device(args.device)
        peak = backend.peak_memory(device)
        print(f"{case} on {device}: peak {gib(peak) if peak else 'unknown'}; {result}", flush=True)
        return
    options = [
        f"--{name}={value}" for name, value in vars(args).items() if name not in ("cases", "here") and value
    ]
    for case in args.cases or CASES:
        run = subprocess.run(
            [sys.executable, __file__, case, "--here", *options], capture_output=True, text=True
        )
        print(run.stdout.strip() or f"{case} failed: {run.stderr.strip().splitlines()[-1:]}", flush=True)


if __name__ == "__main__":
    main()
