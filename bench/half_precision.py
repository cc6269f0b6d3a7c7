"""How far half precision on a CPU is from float32: sdgen's and diffusers', PSNR of each picture to their own.

    pip install -e '.[reference]' && python bench/half_precision.py [--backend tensorflow] [--images 6]
    python bench/half_precision.py --low-memory

The bundled model, DDIM, 25 steps, the prompts of prompts/mini.txt and seed 7. diffusers is given sdgen's own
text encodings and starting noise, so that the two draw the same picture in float32. With ``--low-memory``
it is sdgen's pictures of that option alone, and diffusers is not needed.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np

import sdgen
from sdgen.diffusion.noise import ImageNoise

PROMPTS = Path(__file__).parents[1] / "prompts" / "mini.txt"
FOLDER = Path(sdgen.__file__).parent / "models/data/sd-mini"
STEPS, GUIDANCE, SEED = 25, 7.5, 7


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Of two pictures of uint8."""
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b.astype(float)) ** 2))))


def ours(backend: str | None, dtype: str, prompts: list[str], **how: bool) -> list[np.ndarray]:
    pipeline = sdgen.load("mini", backend=backend, device="cpu", dtype=dtype, **(how or {"jit": True}))
    requests = [
        sdgen.Request(prompt=p, seed=SEED, steps=STEPS, guidance=GUIDANCE, sampler="ddim") for p in prompts
    ]
    return [image.pixels for image in pipeline.generate(requests) if image.pixels is not None]


def encodings(backend: str | None, prompts: list[str]) -> list[np.ndarray]:
    pipeline = sdgen.load("mini", backend=backend, device="cpu", dtype="float32")
    read = pipeline._prompts
    return [
        np.concatenate([read.encode([read.tokenize(text, "a1111")], 0) for text in ("", prompt)])
        for prompt in prompts
    ]


def theirs(dtype: str, contexts: list[np.ndarray]) -> list[np.ndarray]:
    import diffusers
    import torch

    kind = getattr(torch, dtype)
    unet = diffusers.UNet2DConditionModel.from_pretrained(FOLDER, subfolder="unet").to(kind)
    vae = diffusers.AutoencoderKL.from_pretrained(FOLDER, subfolder="vae").to(kind)
    scheduler = diffusers.DDIMScheduler.from_pretrained(FOLDER, subfolder="scheduler")
    side, pictures = 256 >> (len(vae.config.block_out_channels) - 1), []
    for context in contexts:
        scheduler.set_timesteps(STEPS)
        noise = ImageNoise(SEED, "philox").normal(side, side, unet.config.in_channels)
        x = torch.from_numpy(noise).permute(2, 0, 1)[None] * scheduler.init_noise_sigma
        text = torch.from_numpy(context).to(kind)
        with torch.no_grad():
            for t in scheduler.timesteps:
                both = unet(torch.cat([x, x]).to(kind), t, text).sample.float()
                unconditional, conditional = both.chunk(2)
                guided = unconditional + GUIDANCE * (conditional - unconditional)
                x = scheduler.step(guided, t, x).prev_sample
            pixels = vae.decode((x / vae.config.scaling_factor).to(kind)).sample.float()
        pixels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round()
        pictures.append(pixels[0].permute(1, 2, 0).numpy().astype(np.uint8))
    return pictures


def main() -> None:
    """Print a line for each implementation, and how far the two are apart in float32."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--backend")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--low-memory", action="store_true")
    args = parser.parse_args()
    lines = PROMPTS.read_text(encoding="utf-8").splitlines()
    prompts = [line for line in lines if line and not line.startswith("#")][: args.images]
    if args.low_memory:
        small = ours(args.backend, "bfloat16", prompts, low_memory=True)
        tell("sdgen, --low-memory to float32", small, ours(args.backend, "float32", prompts))
        return
    ours32, ours16 = (ours(args.backend, dtype, prompts) for dtype in ("float32", "bfloat16"))
    contexts = encodings(args.backend, prompts)
    theirs32, theirs16 = (theirs(dtype, contexts) for dtype in ("float32", "bfloat16"))
    for name, pairs in {
        "sdgen, bfloat16 to float32": (ours16, ours32),
        "diffusers, bfloat16 to float32": (theirs16, theirs32),
        "sdgen to diffusers, float32": (ours32, theirs32),
    }.items():
        tell(name, *pairs)


def tell(name: str, first: list[np.ndarray], second: list[np.ndarray]) -> None:
    """Print how far pictures are from others, pair by pair."""
    found = [psnr(a, b) for a, b in zip(first, second, strict=True)]
    low, median, high = min(found), statistics.median(found), max(found)
    print(f"{name}: {low:.1f} to {high:.1f} dB, median {median:.1f}", flush=True)


if __name__ == "__main__":
    main()
