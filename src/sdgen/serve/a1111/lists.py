"""What AUTOMATIC1111's clients ask before they draw: which samplers, models and upscalers there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from sdgen.diffusion.sampler_names import AUTOMATIC, SAMPLERS, SCHEDULES, a1111_names
from sdgen.serve.settings import Settings

UPSCALERS = ("None", "Lanczos", "Nearest")
"""Of ``extra-single-image``; clients take the first for none."""


def lists(settings: Settings) -> Mapping[str, Callable[[], Any]]:
    """What is answered, by the path's end; no answer names a path of this machine."""
    return {
        "samplers": samplers,
        "schedulers": schedulers,
        "sd-models": lambda: [model(name) for name in settings.models],
        "upscalers": upscalers,
        "latent-upscale-modes": lambda: [{"name": "Latent"}],
        "sd-vae": list,
        "loras": list,
        "hypernetworks": list,
        "face-restorers": list,
        "realesrgan-models": list,
        "prompt-styles": list,
        "script-info": list,
        "extensions": list,
        "scripts": lambda: {"txt2img": [], "img2img": []},
        "embeddings": lambda: {"loaded": {}, "skipped": {}},
        "cmd-flags": lambda: {"api": True, "nowebui": True},
        "memory": memory,
    }


def samplers() -> list[dict[str, Any]]:
    """Every sampler under AUTOMATIC1111's name."""
    return [{"name": a1111_names(name, None)[0], "aliases": [name], "options": {}} for name in SAMPLERS]


def schedulers() -> list[dict[str, Any]]:
    """Every schedule; "automatic" leaves it to the sampler."""
    titles = {name: a1111_names("euler", name)[1] for name in SCHEDULES}
    named = {"automatic": AUTOMATIC, **{name.replace("-", "_"): title for name, title in titles.items()}}
    return [
        {"name": name, "label": label, "aliases": None, "default_rho": -1, "need_inner_model": False}
        for name, label in named.items()
    ]


def model(name: str) -> dict[str, Any]:
    """A model of the server's."""
    return {
        "title": name,
        "model_name": name,
        "hash": None,
        "sha256": None,
        "filename": os.path.basename(name),
        "config": None,
    }


def upscalers() -> list[dict[str, Any]]:
    """What enlarges a picture without a model."""
    return [
        {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": 4.0}
        for name in UPSCALERS
    ]


def memory() -> dict[str, Any]:
    """This machine's memory, bytes; of an accelerator's nothing is told."""
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = (os.sysconf(name) * page for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    return {
        "ram": {"free": free, "used": total - free, "total": total},
        "cuda": {"error": "unavailable"},
    }
