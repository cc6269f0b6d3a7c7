"""What AUTOMATIC1111 tells of pictures: ``info`` beside them, and ``progress`` before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sdgen.files.version import VERSION
from sdgen.images import a1111_text
from sdgen.serve.drawing import Drawing, Stage

if TYPE_CHECKING:
    from sdgen.images.image import Image

_LEAST = 0.01
"""What progress is told before the first step: 0 is for nothing being drawn."""


def info(images: Sequence[Image], asked: int) -> dict[str, Any]:
    """How pictures were drawn; the first stands for what all have alike.

    Args:
        images: one at least.
        asked: how many were asked for.
    """
    first = images[0]
    request, details = first.request, first.details
    assert first.pixels is not None
    varied = request.variation_of is not None
    texts = [a1111_text.write(image.request, image.details) for image in images]
    seeds = [image.request.base_seed for image in images]
    subseeds = [image.request.seed for image in images]
    return {
        "prompt": request.prompt,
        "all_prompts": [image.request.prompt for image in images],
        "negative_prompt": request.negative_prompt,
        "all_negative_prompts": [image.request.negative_prompt for image in images],
        "seed": seeds[0],
        "all_seeds": seeds,
        "subseed": subseeds[0],
        "all_subseeds": subseeds,
        "subseed_strength": request.variation if varied else 0,
        "width": first.pixels.shape[1],
        "height": first.pixels.shape[0],
        "sampler_name": a1111_text.written(request, "sampler"),
        "cfg_scale": request.guidance,
        "steps": request.steps,
        "batch_size": asked,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": details.get("model") or request.model,
        "sd_model_hash": (details.get("weights_sha256") or "")[:10] or None,
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": request.strength if request.init_image else request.hires_strength,
        "extra_generation_params": {"Schedule type": a1111_text.written(request, "schedule")},
        "index_of_first_image": 0,
        "infotexts": texts,
        "styles": [],
        "job_timestamp": "0",
        "clip_skip": request.clip_skip + 1,
        "is_using_inpainting_conditioning": False,
        "version": f"sdgen {VERSION}",
    }


def progress(
    drawing: Drawing, seconds: float, image: str | None, flags: Mapping[str, bool]
) -> dict[str, Any]:
    """How far a call is.

    Args:
        drawing: its pictures.
        seconds: since it came.
        image: what forms, in base64.
        flags: ``skipped`` and ``interrupted``.
    """
    share = min(1.0, max(_LEAST, drawing.share))
    done = sum(each.stage not in (Stage.WAITING, Stage.DRAWING) for each in drawing.standings)
    now = next((each for each in drawing.standings if each.stage is Stage.DRAWING), None)
    state = {
        "job": "drawing" if now else "waiting",
        "job_count": len(drawing.standings),
        "job_no": done,
        "sampling_step": now.step if now else 0,
        "sampling_steps": now.steps if now else 0,
    }
    return _progress(share, seconds / share - seconds, {**state, **flags}, image)


def idle() -> dict[str, Any]:
    """That nothing is being drawn."""
    state = {"job": "", "job_count": 0, "job_no": 0, "sampling_step": 0, "sampling_steps": 0}
    return _progress(0.0, 0.0, {**state, "skipped": False, "interrupted": False}, None)


def _progress(share: float, left: float, state: Mapping[str, Any], image: str | None) -> dict[str, Any]:
    return {
        "progress": share,
        "eta_relative": left,
        "state": {**state, "stopping_generation": False, "job_timestamp": "0"},
        "current_image": image,
        "textinfo": None,
    }
