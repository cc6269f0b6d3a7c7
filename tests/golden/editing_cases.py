"""What golden/editing has pictures of: cases of image to image and inpainting, as plain data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from golden import inputs
from golden.small_models import MODELS
from PIL import Image

FOLDER = Path(__file__).parent / "editing"
SAMPLERS = ("ddim", "euler", "euler-a", "dpmpp-2m", "heun", "unipc")

_PROMPTS = {"prompt": "a red heart", "negative_prompt": "a tree", "guidance": 3.0}
_MINI = {**_PROMPTS, "model": "mini", "width": 64, "height": 96, "steps": 12, "picture": "ddim-11.png"}
_SMALL = {**_PROMPTS, "width": 48, "height": 16, "steps": 10, "picture": "waves"}
_OF_MINI = (("ddim", 0.29), ("heun", 0.58), ("dpmpp-2m", 0.75), ("unipc", 1.0))
_MINI_BOX, _SMALL_BOX = (16, 24, 48, 72), (16, 0, 40, 8)

UNALIGNED = (19, 29, 41, 61)
"""A mask's left, top, right and bottom that cut through latent pixels, which are 8 wide and high."""

GROWN = (16, 24, 48, 64)
"""The whole latent pixels that UNALIGNED lies in."""


def cases() -> list[dict[str, Any]]:
    """Every picture; ``mask`` is the left, top, right and bottom of what is white, for inpainting."""
    found: list[dict[str, Any]] = []

    def add(
        base: dict[str, Any], samplers: tuple[str, ...], strengths: tuple[float, ...], **fields: Any
    ) -> None:
        for sampler in samplers:
            for strength in strengths:
                seed = 100 + len(found)
                found.append({**base, **fields, "sampler": sampler, "strength": strength, "seed": seed})

    # Samplers and strengths do the same with any weights: the model that takes long draws a few.
    for sampler, strength in _OF_MINI:
        add(_MINI, (sampler,), (strength,))
    add(_MINI, ("ddim",), (0.5,), mask=_MINI_BOX)
    add(_MINI, ("unipc",), (1.0,), mask=_MINI_BOX)
    add(_MINI, ("ddim",), (0.5,), mask=GROWN)
    found.append({**found[-1], "mask": UNALIGNED})
    for name, (channels, _) in MODELS.items():
        base = {**_SMALL, "model": name}
        if channels == 4:
            add(base, SAMPLERS, (0.29, 0.58, 0.75, 1.0))
        add(base, SAMPLERS, (0.5, 1.0), mask=_SMALL_BOX)
    # The two are drawn as one batch, with a list of generators.
    pair = {**_SMALL, "model": "small-v", "batch": 1}
    add(pair, ("euler-a",), (0.58,))
    add(pair, ("euler-a",), (0.58,), picture="waves reversed", prompt="a blue fish")
    return [{"name": _name(case), **case} for case in found]


def grown(case: dict[str, Any]) -> dict[str, Any]:
    """What is other in the case whose mask is that of an unaligned one, grown to whole latent pixels."""
    other = {**case, "mask": list(GROWN)}
    return {"mask": list(GROWN), "name": _name(other)}


def _name(case: dict[str, Any]) -> str:
    parts = [case["model"], case["sampler"], str(case["strength"])]
    parts += ["unaligned" if tuple(case["mask"]) == UNALIGNED else "inpainting"] if "mask" in case else []
    return "-".join([*parts, str(case["seed"])])


def picture(case: dict[str, Any]) -> np.ndarray:
    """The picture that is edited, uint8 (height, width, 3)."""
    if case["picture"] in ("waves", "waves reversed"):
        waves = np.rint((inputs.picture(case["height"], case["width"]) + 1) * 127.5).astype(np.uint8)
        return waves if case["picture"] == "waves" else waves[::-1, ::-1].copy()
    return np.asarray(Image.open(FOLDER.parent / "mini_pictures" / case["picture"]).convert("RGB"))


def mask(case: dict[str, Any]) -> np.ndarray:
    """255 where the picture is repainted, 0 elsewhere: uint8 (height, width)."""
    white = np.zeros((case["height"], case["width"]), np.uint8)
    left, top, right, bottom = case["mask"]
    white[top:bottom, left:right] = 255
    return white


def write(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Store the cases of each model, one a line."""
    lines = {model: ",\n".join(map(json.dumps, found)) for model, found in rows.items()}
    models = [f"{json.dumps(model)}: [\n{cases}\n]" for model, cases in lines.items()]
    (FOLDER / "cases.json").write_text("{" + ",\n".join(models) + "}\n")


def stored() -> dict[str, tuple[dict[str, Any], np.ndarray]]:
    """Every case by name, with diffusers' picture, uint8 (height, width, 3)."""
    found = {}
    for model, rows in json.loads((FOLDER / "cases.json").read_text()).items():
        sheet = np.asarray(Image.open(FOLDER / f"{model}.png"))
        pictures = np.split(sheet, len(rows))
        found |= {case["name"]: (case, pixels) for case, pixels in zip(rows, pictures, strict=True)}
    return found
