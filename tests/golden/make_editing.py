"""Writes editing/: what diffusers' image to image and inpainting make of the cases of editing_cases.py.

    pip install -e '.[reference]' && python tests/golden/make_editing.py [MODEL ...]

Float32 on the CPU. The pictures of a model stand one below the other in one PNG file, in the order of
cases.json. diffusers inpaints with UNets of 4 or 9 input channels alone, and the bundled model has 8: its
configuration is made to say 4, which nothing but that choice goes by.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from golden import editing_cases as editing
from golden.make_mini import MODEL, SCHEDULERS
from golden.small_models import write_model


def pipelines(folder: Path) -> Any:
    """Of a model, without and with a mask, each with the model's scheduler_config.json."""
    text = diffusers.StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    if text.unet.config.in_channels == 8:
        text.unet.register_to_config(in_channels=4)
    kinds = (diffusers.StableDiffusionImg2ImgPipeline, diffusers.StableDiffusionInpaintPipeline)
    found = [kind(**text.components, requires_safety_checker=False) for kind in kinds]
    for pipe in found:
        pipe.set_progress_bar_config(disable=True)
    return [(pipe, text.scheduler.config) for pipe in found]


def draw(model: Any, batch: list[dict[str, Any]]) -> list[np.ndarray]:
    """The pictures of cases that are drawn as one batch, each uint8 (height, width, 3)."""
    first, options = batch[0], {}
    pipe, scheduler = model["mask" in first]
    if "mask" in first:
        options["mask_image"] = [Image.fromarray(editing.mask(case)) for case in batch]
        options |= {"height": first["height"], "width": first["width"]}
    sampler, fixed = SCHEDULERS[first["sampler"]]
    pipe.scheduler = sampler.from_config(scheduler, **fixed)
    pictures = pipe(
        [case["prompt"] for case in batch],
        negative_prompt=[case["negative_prompt"] for case in batch],
        image=[Image.fromarray(editing.picture(case)) for case in batch],
        strength=first["strength"],
        num_inference_steps=first["steps"],
        guidance_scale=first["guidance"],
        generator=[torch.Generator("cpu").manual_seed(case["seed"]) for case in batch],
        **options,
    ).images
    return [np.asarray(picture.convert("RGB")) for picture in pictures]


def sheet(folder: Path, rows: list[dict[str, Any]]) -> Image.Image:
    """The pictures of a model's cases, one below the other."""
    model, found, alone = pipelines(folder), [], itertools.count(2)
    for _, group in itertools.groupby(rows, key=lambda case: case.get("batch") or next(alone)):
        batch = list(group)
        for case, pixels in zip(batch, draw(model, batch), strict=True):
            found.append(pixels)
            print(case["name"], round(pixels.mean(), 1), round(pixels.std(), 1), flush=True)
    return Image.fromarray(np.concatenate(found))


def main() -> None:
    """Write the folder; the pictures of the models that are named, or of all."""
    diffusers.utils.logging.set_verbosity_error()
    rows: dict[str, list[dict[str, Any]]] = {}
    for case in editing.cases():
        rows.setdefault(case["model"], []).append(case)
    editing.FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        for name in sys.argv[1:] or rows:
            folder = MODEL if name == "mini" else write_model(name, Path(temporary) / name)
            sheet(folder, rows[name]).save(editing.FOLDER / f"{name}.png", optimize=True)
    editing.write({name: found for name, found in rows.items() if (editing.FOLDER / f"{name}.png").exists()})


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
