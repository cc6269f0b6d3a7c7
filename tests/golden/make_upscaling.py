"""Writes upscaling.npz: what diffusers' pipelines draw with the models of upscaling_models.py.

    pip install -e '.[reference]' && python tests/golden/make_upscaling.py

Float32 on the CPU.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))
from golden import upscaling_models as models
from make_small_networks import fill

SCHEDULERS = {
    "ddim": diffusers.DDIMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "dpmpp-2m": diffusers.DPMSolverMultistepScheduler,
}


class EulerOnLatents(diffusers.EulerDiscreteScheduler):
    """Scales the latents alone of what LDMSuperResolutionPipeline has it scale with the picture."""

    def scale_model_input(self, sample: torch.Tensor, timestep: Any) -> torch.Tensor:
        """Of (batch, 6, height, width) the first half."""
        latents, picture = sample.chunk(2, dim=1)
        return torch.cat([super().scale_model_input(latents, timestep), picture], dim=1)


def x4(folder: Path) -> dict[str, np.ndarray]:
    """The pictures of X4_CASES, uint8 (128, 256, 3)."""
    pipe = diffusers.StableDiffusionUpscalePipeline.from_pretrained(models.write_x4(folder))
    pipe.set_progress_bar_config(disable=True)
    found = {}
    for name, case in models.X4_CASES.items():
        pipe.scheduler = SCHEDULERS[case.get("sampler", "ddim")].from_config(models.X4_SCHEDULER)
        found[name] = pipe(
            models.PROMPT,
            Image.fromarray(models.small_picture()),
            num_inference_steps=case["steps"],
            guidance_scale=case["guidance"],
            noise_level=case["noise_level"],
            eta=case.get("eta", 0.0),
            generator=torch.Generator("cpu").manual_seed(case["seed"]),
        ).images[0]
    return found


def ldm_sr() -> dict[str, np.ndarray]:
    """The pictures of LDM_CASES, uint8 (128, 256, 3)."""
    pipe = diffusers.LDMSuperResolutionPipeline(
        vqvae=fill(diffusers.VQModel(**models.LDM_VQ)),
        unet=fill(diffusers.UNet2DModel(**models.LDM_UNET)),
        scheduler=diffusers.DDIMScheduler.from_config(models.LDM_SCHEDULER),
    )
    pipe.set_progress_bar_config(disable=True)
    found = {}
    for name, case in models.LDM_CASES.items():
        kind = {**SCHEDULERS, "euler": EulerOnLatents}[case.get("sampler", "ddim")]
        pipe.scheduler = kind.from_config(models.LDM_SCHEDULER)
        generator = torch.Generator("cpu").manual_seed(case["seed"])
        if "eta" in case:
            # The pipeline leaves the noise of eta to torch's global generator; here the picture's goes on.
            pipe.scheduler.step = functools.partial(pipe.scheduler.step, generator=generator)
        found[name] = pipe(
            Image.fromarray(models.small_picture()),
            num_inference_steps=case["steps"],
            eta=case.get("eta", 0.0),
            generator=generator,
        ).images[0]
    return found


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as folder:
        drawn = {**x4(Path(folder) / "x4"), **ldm_sr()}
    drawn = {name: models.thinned(np.asarray(picture)) for name, picture in drawn.items()}
    np.savez_compressed(Path(__file__).parent / "upscaling.npz", **drawn)
    print({name: (picture.shape, float(picture.std())) for name, picture in drawn.items()})
