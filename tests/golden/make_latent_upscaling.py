"""Writes latent_upscaling.npz: what diffusers' pipeline draws with the model of latent_upscaling_models.py.

    pip install -e '.[reference]' && python tests/golden/make_latent_upscaling.py

Float32 on the CPU.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
from golden import latent_upscaling_models as models


def drawn(folder: Path) -> dict[str, np.ndarray]:
    """The pictures of CASES, uint8 (128, 192, 3)."""
    pipe = diffusers.StableDiffusionLatentUpscalePipeline.from_pretrained(models.write_x2(folder))
    pipe.set_progress_bar_config(disable=True)
    return {
        name: np.asarray(
            pipe(
                case["prompt"],
                Image.fromarray(models.small_picture()),
                num_inference_steps=case["steps"],
                guidance_scale=case["guidance"],
                negative_prompt=case.get("negative_prompt"),
                generator=torch.Generator("cpu").manual_seed(case["seed"]),
            ).images[0]
        )
        for name, case in models.CASES.items()
    }


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as folder:
        found = drawn(Path(folder) / "x2")
    np.savez_compressed(
        Path(__file__).parent / "latent_upscaling.npz",
        **{name: models.thinned(pixels) for name, pixels in found.items()},
    )
    print({name: (pixels.shape, float(pixels.std())) for name, pixels in found.items()})
