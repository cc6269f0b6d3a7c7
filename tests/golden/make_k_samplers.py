"""Runs k-diffusion's samplers over fixed network outputs and stores what comes out: ``k_samplers.npz``.

    python tests/golden/make_k_samplers.py

Needs torch, torchsde, diffusers 0.42.1 and k-diffusion 0.1.1 (without torchvision, which sampling does not
use). The levels are those that diffusers' schedulers make for Euler and for DPM-Solver++; the steps are
k-diffusion's functions in float64. Its SDE samplers take their noise from a Brownian tree; here they are
given independent normal numbers, combined as the tree's are where two of them overlap (``tree_noise``).
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from diffusers import schedulers
from diffusers.utils import logging
from make_samplers import CONFIGS, SCHEDULES, exact_roots

GOLDEN = Path(__file__).parent
EULER = schedulers.EulerDiscreteScheduler
CLASSES: dict[str, tuple[str, type]] = {
    "dpmpp-2s-a": ("sample_dpmpp_2s_ancestral", EULER),
    "dpmpp-sde": ("sample_dpmpp_sde", EULER),
    "dpmpp-3m-sde": ("sample_dpmpp_3m_sde", schedulers.DPMSolverMultistepScheduler),
}


def sampling() -> Any:
    """k_diffusion.sampling, without the rest of the package, which wants torchvision."""
    spec = find_spec("k_diffusion")
    assert spec is not None and spec.submodule_search_locations
    package = types.ModuleType("k_diffusion")
    package.__path__ = list(spec.submodule_search_locations)
    stubs = {name: mock.MagicMock() for name in ("torchvision", "torchvision.transforms")}
    with mock.patch.dict(sys.modules, {"k_diffusion": package, **stubs}):
        return importlib.import_module("k_diffusion.sampling")


K = sampling()


def cases() -> list[dict[str, Any]]:
    """Every run: the config's name, the sampler and its options."""
    found = [
        {"config": config, "sampler": sampler, "steps": steps, "schedule": schedule, "eta": 0.0}
        for config in ("sd2.1-base", "sd2.1", "mini")
        for sampler in CLASSES
        for schedule in (None, "karras", "exponential", "beta", "sgm-uniform")
        for steps in ((1, 2, 3, 4, 25) if schedule is None else (3, 20))
        # k-diffusion's function of third order fails at one step; beta is not for zero terminal SNR.
        if (sampler, steps) != ("dpmpp-3m-sde", 1) and (config, schedule) != ("mini", "beta")
    ]
    return found + [
        {"config": config, "sampler": sampler, "steps": steps, "schedule": None, "eta": 0.0}
        for config in ("linear", "cosine", "trained")
        for sampler in CLASSES
        for steps in (2, 20)
    ]


def tree_noise(draw: Callable[[], float]) -> Callable[[Any, Any], torch.Tensor]:
    """What k-diffusion's Brownian tree gives for the spans of levels that it is asked for.

    Spans that follow one another have independent noise. Of two spans from the same level, as in
    ``sample_dpmpp_sde``, the second holds the first.
    """
    last: dict[str, Any] = {"start": None}

    def noise(start: Any, end: Any) -> torch.Tensor:
        fresh = torch.full((1, 1, 1, 1), draw(), dtype=torch.float64)
        if last["start"] is not None and torch.isclose(last["start"], start, rtol=1e-9):
            shared = (start - last["end"]) / (start - end)
            fresh = shared.sqrt() * last["noise"] + (1 - shared).sqrt() * fresh
        last.update(start=start, end=end, noise=fresh)
        return fresh

    return noise


def check_tree() -> None:
    """The real Brownian tree has the correlations of ``tree_noise``."""
    start, middle, end = (torch.tensor(level, dtype=torch.float64) for level in (9.0, 4.0, 2.0))
    tree = K.BrownianTreeNoiseSampler(torch.zeros(1, 4, 64, 64, dtype=torch.float64), end, start, seed=7)
    first, both, rest = tree(start, middle), tree(start, end), tree(middle, end)
    for one, other, expected in ((first, both, (5 / 7) ** 0.5), (first, rest, 0.0), (first, first, 1.0)):
        assert abs((one * other).mean().item() - expected) < 0.05


def run(case: dict[str, Any], outputs: np.ndarray, noise: np.ndarray) -> dict[str, Any]:
    """Timesteps (rows,), network inputs and final latents (rows + 1,), whether noise is drawn (rows,)."""
    function, scheduler_class = CLASSES[case["sampler"]]
    with exact_roots():
        scheduler = scheduler_class.from_config({**CONFIGS[case["config"]], **SCHEDULES[case["schedule"]]})
        scheduler.set_timesteps(case["steps"])
        logs = np.log(np.array(((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod) ** 0.5))
    sigmas = scheduler.sigmas.double()
    rows_a_step = 2 if scheduler_class is EULER else 1
    prediction, inputs, timesteps, drawn = scheduler.config.prediction_type, [], [], []

    def model(y: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        row, level = len(inputs), sigma.view(1, 1, 1, 1)
        inputs.append((y / (level**2 + 1) ** 0.5).item())
        step, between = divmod(row, rows_a_step)
        timesteps.append(
            float(scheduler._sigma_to_t(sigma.numpy(), logs).item() if between else scheduler.timesteps[step])
        )
        if prediction == "epsilon":
            return y - level * outputs[row]
        if prediction == "v_prediction":
            return y / (level**2 + 1) - level / (level**2 + 1) ** 0.5 * outputs[row]
        return torch.full_like(y, outputs[row])

    def draw() -> float:
        drawn.append(len(inputs) - 1)
        return float(noise[len(inputs) - 1])

    # diffusers draws Euler's first latents at sigma, unless the spacing is 'leading'.
    at_sigma = scheduler_class is EULER and scheduler.config.timestep_spacing != "leading"
    scale = sigmas[0] if at_sigma else (sigmas[0] ** 2 + 1) ** 0.5
    start = torch.full((1, 1, 1, 1), noise[-1], dtype=torch.float64) * scale
    final = getattr(K, function)(model, start, sigmas, disable=True, noise_sampler=tree_noise(draw))
    draws = np.zeros(len(inputs), bool)
    draws[drawn] = True
    latents = np.array([*inputs, final.item()])
    return {"timesteps": np.array(timesteps, np.float32), "latents": latents, "draws": draws}


def main() -> None:
    """Write the file."""
    logging.set_verbosity_error()
    check_tree()
    rng = np.random.default_rng(2022)
    outputs, noise = rng.standard_normal(1100), rng.standard_normal(1100)
    results = [run(case, outputs, noise) for case in cases()]
    np.savez_compressed(
        GOLDEN / "k_samplers.npz",
        cases=json.dumps(cases()),
        **{name: np.concatenate([result[name] for result in results]) for name in results[0]},
    )
    print(f"{len(results)} runs, {sum(len(r['timesteps']) for r in results)} rows")


if __name__ == "__main__":
    main()
