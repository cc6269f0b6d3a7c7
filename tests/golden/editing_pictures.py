"""Draws the cases of editing_cases.py with sdgen: ``python editing_pictures.py BACKEND FILE``."""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from golden import editing_cases as editing
from golden.small_models import write_model

_FIELDS = ("prompt", "negative_prompt", "guidance", "steps", "width", "height", "sampler", "strength", "seed")


def request(case: dict[str, Any]) -> Any:
    """A case as sdgen's ``Request``."""
    import sdgen

    fields = {name: case[name] for name in _FIELDS} | {"init_image": editing.picture(case)}
    if "mask" in case:
        # The seam is blended within the mask otherwise.
        fields |= {"mask": editing.mask(case), "mask_blur": 0}
    return sdgen.Request(**fields, rng="torch", prompt_syntax="plain")


def pictures(cases: Iterable[dict[str, Any]], backend: str) -> dict[str, np.ndarray]:
    """The pictures of cases by name, uint8 (height, width, 3), drawn in float32 on the CPU."""
    import sdgen

    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        for model, group in itertools.groupby(cases, key=lambda case: case["model"]):
            folder = model if model == "mini" else str(write_model(model, Path(temporary) / model))
            # XLA compiles for longer than TensorFlow's graph runtime takes to draw small models' pictures.
            engine = sdgen.load(folder, backend=backend, device="cpu", dtype="float32", jit=model == "mini")
            rows = list(group)
            for case, image in zip(rows, engine.generate(map(request, rows)), strict=True):
                assert image.error is None, (case, image.error)
                found[case["name"]] = np.asarray(image.pixels)
    return found


if __name__ == "__main__":
    np.savez(sys.argv[2], **pictures((case for case, _ in editing.stored().values()), sys.argv[1]))
