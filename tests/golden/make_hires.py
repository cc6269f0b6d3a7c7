"""Writes hires.npz: what diffusers draws in two passes with the bundled model.

    pip install -e '.[reference]' && python tests/golden/make_hires.py

Text to image, Pillow's Lanczos, then image to image, with one generator for both.
"""

from __future__ import annotations

import sys
from pathlib import Path

import diffusers
import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
from golden.make_mini import MODEL

SCHEDULERS = {
    "ddim": diffusers.DDIMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "euler-a": diffusers.EulerAncestralDiscreteScheduler,
    "dpmpp-2m": diffusers.DPMSolverMultistepScheduler,
}


def main() -> None:
    """Write the file."""
    first = diffusers.StableDiffusionPipeline.from_pretrained(MODEL, torch_dtype=torch.float32)
    second = diffusers.StableDiffusionImg2ImgPipeline(**first.components)
    pictures = {}
    for name, scheduler in SCHEDULERS.items():
        generator = torch.Generator("cpu").manual_seed(7)
        same = {
            "prompt": "a red heart",
            "guidance_scale": 5.0,
            "num_inference_steps": 8,
            "generator": generator,
        }
        first.scheduler = scheduler.from_config(first.scheduler.config)
        small = first(width=64, height=64, **same).images[0]
        second.scheduler = scheduler.from_config(first.scheduler.config)
        large = small.resize((128, 128), Image.Resampling.LANCZOS)
        pictures[name] = np.asarray(second(image=large, strength=0.5, **same).images[0])
    np.savez_compressed(Path(__file__).parent / "hires.npz", **pictures)


if __name__ == "__main__":
    main()
