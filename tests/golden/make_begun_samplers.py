"""Runs diffusers' schedulers from a later step on, as image to image does: ``begun_samplers.npz``.

    python tests/golden/make_begun_samplers.py

Needs torch and diffusers 0.42.1; see ``make_samplers.py``. The timesteps are cut and the begin index set as
in ``StableDiffusionImg2ImgPipeline.get_timesteps``. PLMS is left out: cut in this way, diffusers' class takes
its steps at levels that the latents do not have.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from diffusers.utils import logging
from make_samplers import CLASSES, GOLDEN, run

STRENGTHS = (0.29, 0.58, 0.75, 1.0)
SAMPLERS = tuple(name for name in CLASSES if name != "plms")
KARRAS = ("euler", "heun", "dpmpp-2m", "dpmpp-2m-sde", "unipc", "deis", "dpm2", "dpmpp-2s")


def cases() -> list[dict[str, Any]]:
    """Every run: the config's name, the sampler, its options and the step to begin at."""
    found: list[dict[str, Any]] = []

    def add(config: str, samplers: tuple[str, ...], schedule: str | None, eta: float = 0.0) -> None:
        for sampler in samplers:
            for steps in (7, 50):
                for strength in STRENGTHS:
                    first = max(steps - min(int(steps * strength), steps), 0)
                    case = {"config": config, "sampler": sampler, "steps": steps, "schedule": schedule}
                    found.append({**case, "eta": eta, "strength": strength, "first": first})

    add("sd2.1-base", SAMPLERS, None)
    add("sd2.1-base", KARRAS, "karras")
    add("sd2.1", SAMPLERS, None)
    add("mini", ("ddim", "euler", "euler-a", "dpmpp-2m", "heun", "unipc"), None)
    add("sd2.1-base", ("ddim", "tcd"), None, eta=0.3)
    add("deis-3", ("deis",), None)
    add("sigma-min", ("dpmpp-2m", "unipc", "deis"), None)
    return found


def main() -> None:
    """Write the file."""
    logging.set_verbosity_error()
    stored = np.load(GOLDEN / "samplers.npz")
    outputs, noise = stored["outputs"], stored["noise"]
    results = []
    for case in cases():
        result = run(case, outputs, noise, double=True)
        single = run(case, outputs, noise, double=False)
        scale = np.abs(result["latents"]).max()
        assert np.abs(single["latents"] - result["latents"]).max() / scale < 2e-4, case
        assert (single["draws"] == result["draws"]).all(), case
        results.append(result)
    np.savez_compressed(
        GOLDEN / "begun_samplers.npz",
        cases=json.dumps(cases()),
        **{name: np.concatenate([result[name] for result in results]) for name in results[0]},
    )
    print(f"{len(results)} runs, {sum(len(r['timesteps']) for r in results)} rows")


if __name__ == "__main__":
    main()
