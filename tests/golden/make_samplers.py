"""Runs diffusers' schedulers over fixed network outputs and stores what comes out: ``samplers.npz``.

Their noise schedules go to ``schedules.npz``.

    python tests/golden/make_samplers.py

Needs torch and diffusers 0.42.1. The schedulers prepare their timesteps and sigmas in float32 as ever, but
with square roots rounded correctly (MKL's are off by one in the last place, differently by machine); their
steps then run in float64, so that a coefficient that is wrong in the seventh digit shows. An untouched
float32 run is checked to agree.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from diffusers import schedulers
from diffusers.utils import logging

GOLDEN = Path(__file__).parent
MINI = GOLDEN.parents[1] / "src/sdgen/models/data/sd-mini/scheduler/scheduler_config.json"

SD21_BASE = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
SD21_V = {**SD21_BASE, "_class_name": "DDIMScheduler", "prediction_type": "v_prediction"}
TURBO = {
    **SD21_BASE,
    "_class_name": "EulerDiscreteScheduler",
    "interpolation_type": "linear",
    "timestep_spacing": "trailing",
    "use_karras_sigmas": False,
}
LCM = {
    **SD21_BASE,
    "_class_name": "LCMScheduler",
    "original_inference_steps": 50,
    "rescale_betas_zero_snr": False,
    "set_alpha_to_one": True,
    "timestep_spacing": "leading",
    "timestep_scaling": 10.0,
}
COSINE = {
    **SD21_BASE,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "sample",
    "timestep_spacing": "leading",
    "steps_offset": 0,
    "set_alpha_to_one": True,
}
LINEAR = {
    **SD21_BASE,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "timestep_spacing": "linspace",
}
TRAINED = {**SD21_V, "trained_betas": np.linspace(1e-3, 0.05, 100).tolist(), "num_train_timesteps": 100}
SIGMA_MIN = {
    **SD21_BASE,
    "_class_name": "DPMSolverMultistepScheduler",
    "final_sigmas_type": "sigma_min",
    "lower_order_final": False,
}
EULER_AT_FINAL = {**SIGMA_MIN, "euler_at_final": True, "use_karras_sigmas": True}
DEIS_3 = {**SD21_BASE, "_class_name": "DEISMultistepScheduler", "solver_order": 3}
ZERO_SNR_EPSILON = {**SD21_BASE, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}

CONFIGS = {
    "sd2.1-base": SD21_BASE,
    "sd2.1": SD21_V,
    "mini": json.loads(MINI.read_text()),
    "sd-turbo": TURBO,
    "lcm": LCM,
    "cosine": COSINE,
    "linear": LINEAR,
    "trained": TRAINED,
    "sigma-min": SIGMA_MIN,
    "euler-at-final": EULER_AT_FINAL,
    "zero-snr-epsilon": ZERO_SNR_EPSILON,
    "deis-3": DEIS_3,
}

SCHEDULED = {name: CONFIGS[name] for name in ("sd2.1-base", "mini", "cosine", "linear", "trained")}

CLASSES: dict[str, tuple[type, dict[str, Any]]] = {
    "ddim": (schedulers.DDIMScheduler, {}),
    "ddpm": (schedulers.DDPMScheduler, {}),
    "euler": (schedulers.EulerDiscreteScheduler, {}),
    "euler-a": (schedulers.EulerAncestralDiscreteScheduler, {}),
    "heun": (schedulers.HeunDiscreteScheduler, {}),
    "dpmpp-2m": (schedulers.DPMSolverMultistepScheduler, {}),
    "dpmpp-2m-sde": (schedulers.DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "plms": (schedulers.PNDMScheduler, {"skip_prk_steps": True}),
    "unipc": (schedulers.UniPCMultistepScheduler, {}),
    "lcm": (schedulers.LCMScheduler, {}),
    "deis": (schedulers.DEISMultistepScheduler, {}),
    "dpm2": (schedulers.KDPM2DiscreteScheduler, {}),
    "dpm2-a": (schedulers.KDPM2AncestralDiscreteScheduler, {}),
    "dpmpp-2s": (schedulers.DPMSolverSinglestepScheduler, {}),
    "tcd": (schedulers.TCDScheduler, {}),
}
SCHEDULES: dict[str | None, dict[str, Any]] = {
    None: {},
    "normal": {"use_karras_sigmas": False, "use_exponential_sigmas": False},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    "simple": {},
    "align-your-steps": {},
    "sgm-uniform": {"timestep_spacing": "trailing"},
}
CURVED = ("euler", "heun", "dpmpp-2m", "dpmpp-2m-sde", "unipc")
LATER = ("deis", "dpm2", "dpm2-a", "dpmpp-2s")
EVERY = tuple(name for name in CLASSES if name not in ("lcm", "tcd", *LATER))


def cases() -> list[dict[str, Any]]:
    """Every run: the config's name, the sampler and its options."""
    found: list[dict[str, Any]] = []

    def add(
        config: str, samplers: tuple[str, ...], schedule: str | None, steps: tuple[int, ...], eta: float = 0.0
    ) -> None:
        for sampler in samplers:
            for n in steps:
                found.append(
                    {"config": config, "sampler": sampler, "steps": n, "schedule": schedule, "eta": eta}
                )

    for config in ("sd2.1-base", "sd2.1", "mini"):
        add(config, EVERY, None, (1, 2, 3, 4, 10, 14, 15, 25, 50))
        add(config, ("ddim",), None, (1, 4, 25), eta=0.3)
        # diffusers takes the root of 1 - a - s², 0 in exact numbers, and gets NaN in 25 steps of mini.
        add(config, ("ddim",), None, (1, 4) if config == "mini" else (1, 4, 25), eta=1.0)
        add(config, (*CURVED, "euler-a"), "karras", (1, 2, 3, 10, 25))
        add(config, CURVED, "exponential", (1, 2, 10, 25))
        add(config, EVERY, "sgm-uniform", (1, 3, 7, 25))
        add(config, ("lcm",), None, (1, 4, 8))
    add("mini", ("ddim", "euler", "dpmpp-2m", "plms"), None, (100, 999))
    add("sd-turbo", ("euler", "euler-a", "ddim", "lcm"), None, (1, 2, 3, 4))
    add("lcm", ("lcm", "ddim", "euler"), None, (1, 2, 4, 8))
    add("lcm", ("lcm",), None, (50,))
    add("cosine", ("ddim", "ddpm", "euler", "heun", "dpmpp-2m", "dpmpp-2m-sde", "unipc"), None, (1, 4, 20))
    add("cosine", ("dpmpp-2m", "unipc", "euler"), "karras", (4, 20))
    add("linear", EVERY, None, (1, 2, 3, 20))
    add("trained", EVERY, None, (1, 2, 3, 20))
    add("sigma-min", ("euler", "euler-a", "heun", "dpmpp-2m", "dpmpp-2m-sde", "unipc"), None, (1, 2, 4, 20))
    # diffusers' UniPC ends at the last Karras sigma, which with one step is the first: it then does nothing.
    add("euler-at-final", ("euler", "heun", "dpmpp-2m", "dpmpp-2m-sde", "unipc"), None, (2, 4, 20))
    add("euler-at-final", ("dpmpp-2m", "unipc"), "normal", (4, 20))
    add("euler-at-final", ("euler-a", "ddim"), None, (4, 20))
    add("zero-snr-epsilon", ("euler", "euler-a", "dpmpp-2m", "dpmpp-2m-sde", "unipc"), None, (1, 4, 20))
    for config in ("sd2.1-base", "sd2.1"):
        add(config, LATER, None, (1, 2, 3, 4, 14, 15, 25))
        for schedule in ("karras", "exponential"):
            add(config, LATER, schedule, (1, 2, 3, 10, 25))
        # diffusers' KDPM2 and Singlestep classes do as they please about the spacing of others.
        add(config, ("deis", "dpm2", "dpm2-a"), "sgm-uniform", (1, 3, 25))
        add(config, (*CURVED, *LATER), "beta", (2, 3, 10, 25))
        add(config, ("euler", "heun", "dpmpp-2m", "dpmpp-2m-sde"), "simple", (1, 3, 10, 30))
        add(config, ("euler", "heun", "dpmpp-2m", "dpmpp-2m-sde"), "align-your-steps", (3, 10, 25))
    add("linear", ("deis", "dpm2", "dpmpp-2s", "tcd"), None, (1, 2, 3, 20))
    # In two steps, float32 leaves diffusers' ancestral class nothing of the last level between.
    add("linear", ("dpm2-a",), None, (1, 3, 20))
    add("cosine", ("deis", "dpmpp-2s", "tcd"), None, (1, 4, 20))
    add("cosine", ("deis", "dpmpp-2s"), "karras", (4, 20))
    add("deis-3", ("deis",), None, (1, 2, 3, 4, 14, 15, 25))
    add("deis-3", ("deis",), "karras", (3, 25))
    add("sigma-min", ("deis", "dpmpp-2s", "dpm2"), None, (1, 2, 3, 4, 20))
    for eta in (0.0, 0.3, 1.0):
        add("lcm", ("tcd",), None, (1, 2, 4, 8, 50), eta)
        add("sd2.1", ("tcd",), None, (1, 4), eta)
    return found


class Float64Torch:
    """The torch module with float64 in the place of float32."""

    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def exact_roots() -> Any:
    """While in force, float32 powers and square roots are taken in float64 and rounded once."""
    power, root = torch.Tensor.__pow__, torch.Tensor.sqrt

    def wide(function: Any) -> Any:
        return lambda tensor, *rest: function(tensor.double(), *rest).to(tensor.dtype)

    return mock.patch.multiple(torch.Tensor, __pow__=wide(power), sqrt=wide(root))


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """While in force, PyTorch makes floating-point numbers of whole ones in this dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


def prepare(case: dict[str, Any], double: bool) -> Any:
    """The scheduler of a case, its timesteps set; with its stored numbers widened to float64 if asked."""
    scheduler_class, fixed = CLASSES[case["sampler"]]
    config, schedule = CONFIGS[case["config"]], SCHEDULES[case["schedule"]]
    scheduler = scheduler_class.from_config({**config, **schedule, **fixed})
    scheduler.set_timesteps(case["steps"])
    if case["schedule"] in ("simple", "align-your-steps"):
        set_levels(scheduler, case)
    if case["sampler"] == "euler-a" and case["schedule"] == "karras":
        # diffusers' class knows no Karras sigmas; k-diffusion's function takes any.
        euler = schedulers.EulerDiscreteScheduler.from_config({**config, **schedule})
        euler.set_timesteps(case["steps"])
        scheduler.sigmas, scheduler.timesteps = euler.sigmas, euler.timesteps
    if double:
        for name in ("alphas_cumprod", "final_alpha_cumprod", "sigmas"):
            if hasattr(scheduler, name):
                setattr(scheduler, name, getattr(scheduler, name).double())
        if hasattr(scheduler, "sigmas_interpol"):
            widen_between(scheduler)
    return scheduler


def widen_between(scheduler: Any) -> None:
    """Compute in float64, from the stored sigmas, the levels that KDPM2's classes put between them.

    The ancestral class takes ``sigma_down`` as a difference of squares, which leaves float32 two digits of it
    and of the timesteps between.
    """
    here, after = scheduler.sigmas[::2], scheduler.sigmas[1::2]
    if not hasattr(scheduler, "sigmas_up"):
        between = (here * after) ** 0.5
        scheduler.sigmas_interpol = torch.cat([between[:1], between.repeat_interleave(2)[:-1]])
        return
    down = (after**2 / here).nan_to_num()
    levels = {
        "sigmas_interpol": (here * down) ** 0.5,
        "sigmas_up": (after**2 - down**2).clamp(min=0) ** 0.5,
        "sigmas_down": down,
    }
    for name, values in levels.items():
        exact = torch.cat([values[:1], values[1:].repeat_interleave(2), values[-1:]])
        stored = getattr(scheduler, name).nan_to_num()
        assert torch.allclose(exact.float(), stored, rtol=2e-2, atol=2e-4), (name, exact, stored)
        setattr(scheduler, name, exact)
    logs = scheduler.log_sigmas.cpu()
    exact_times = [scheduler._sigma_to_t(level, logs) for level in levels["sigmas_interpol"][:-2]]
    scheduler.timesteps[1::2] = torch.from_numpy(np.array(exact_times))


def set_levels(scheduler: Any, case: dict[str, Any]) -> None:
    """The levels of schedules that diffusers' classes are handed from outside.

    ``simple`` as ComfyUI and AUTOMATIC1111 define it; the levels of Align Your Steps from diffusers' table,
    interpolated as its authors do. Whole timesteps for the classes that have whole ones.
    """
    euler = schedulers.EulerDiscreteScheduler.from_config(scheduler.config)
    steps = case["steps"]
    if case["schedule"] == "simple":
        training = ((1 - euler.alphas_cumprod) / euler.alphas_cumprod) ** 0.5
        sigmas = [float(training[-(1 + int(x * (len(training) / steps)))]) for x in range(steps)]
    else:
        # The table ends with 0 where the authors' list has the level to end at.
        table = [*schedulers.scheduling_utils.AysSchedules["StableDiffusionSigmas"][:-1], 0.029]
        places = np.linspace(0, 1, steps + 1)
        logs = np.interp(places, np.linspace(0, 1, len(table)), np.log(table[::-1]))
        sigmas = np.exp(logs)[::-1][:-1].tolist()
    euler.set_timesteps(sigmas=[*sigmas, 0.0])
    whole = case["sampler"].startswith("dpmpp")
    timesteps = euler.timesteps.round().long() if whole else euler.timesteps
    if isinstance(scheduler, schedulers.HeunDiscreteScheduler):
        scheduler.sigmas = torch.cat(
            [euler.sigmas[:1], euler.sigmas[1:-1].repeat_interleave(2), euler.sigmas[-1:]]
        )
        scheduler.timesteps = torch.cat([timesteps[:1], timesteps[1:].repeat_interleave(2)])
    else:
        scheduler.sigmas, scheduler.timesteps = euler.sigmas, timesteps


def run(case: dict[str, Any], outputs: np.ndarray, noise: np.ndarray, double: bool) -> dict[str, Any]:
    """Timesteps (rows,), network inputs and final latents (rows + 1,), whether noise is drawn (rows,).

    A case with ``first`` begins at that step, with the last of ``outputs`` as its image and the last of
    ``noise`` added, as ``StableDiffusionImg2ImgPipeline`` does.
    """
    with exact_roots() if double else contextlib.nullcontext():
        scheduler = prepare(case, double)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(case.get("first", 0) * scheduler.order)
    dtype = torch.float64 if double else torch.float32
    drawn: list[int] = []

    def draw(*_: Any, **__: Any) -> torch.Tensor:
        drawn.append(row)
        return torch.full((1, 1, 1, 1), noise[row], dtype=dtype)

    module = __import__(type(scheduler).__module__, fromlist=["torch"])
    patches = {"randn_tensor": draw} if hasattr(module, "randn_tensor") else {}
    if double:
        patches["torch"] = Float64Torch()
    takes_eta = case["eta"] or case["sampler"] == "tcd"
    options: dict[str, Any] = {"eta": case["eta"]} if takes_eta else {}
    timesteps = scheduler.timesteps[case.get("first", 0) * scheduler.order :]
    latents = torch.full((1, 1, 1, 1), noise[-1], dtype=dtype)
    if "first" in case:
        image = torch.full((1, 1, 1, 1), outputs[-1], dtype=dtype)
        latents = scheduler.add_noise(image, latents, timesteps[:1])
    else:
        latents = latents * scheduler.init_noise_sigma
    inputs = []
    with mock.patch.dict(vars(module), patches), default_dtype(dtype):
        for row, timestep in enumerate(timesteps):
            model_input = scheduler.scale_model_input(latents, timestep)
            inputs.append(model_input.item())
            output = torch.full((1, 1, 1, 1), outputs[row], dtype=dtype)
            latents = scheduler.step(output, timestep, latents, **options).prev_sample
    draws = np.zeros(len(timesteps), bool)
    draws[drawn] = True
    return {
        "timesteps": timesteps.numpy().astype(np.float32),
        "latents": np.array([*inputs, latents.item()]),
        "draws": draws,
    }


def main() -> None:
    """Write the two files."""
    logging.set_verbosity_error()
    rng = np.random.default_rng(2022)
    outputs, noise = rng.standard_normal(1100), rng.standard_normal(1100)
    results = []
    for case in cases():
        result = run(case, outputs, noise, double=True)
        single = run(case, outputs, noise, double=False)
        tolerance = 2e-3 if case["config"] == "zero-snr-epsilon" else 2e-4
        scale = np.abs(result["latents"]).max()
        error = np.abs(single["latents"] - result["latents"]).max() / scale
        assert error < tolerance, (case, error)
        assert (single["draws"] == result["draws"]).all(), case
        results.append(result)
    np.savez_compressed(
        GOLDEN / "samplers.npz",
        configs=json.dumps(CONFIGS),
        cases=json.dumps(cases()),
        outputs=outputs,
        noise=noise,
        **{name: np.concatenate([result[name] for result in results]) for name in results[0]},
    )
    with exact_roots():
        tables = {
            name: schedulers.DDIMScheduler.from_config(config).alphas_cumprod.numpy()
            for name, config in SCHEDULED.items()
        }
    np.savez_compressed(GOLDEN / "schedules.npz", configs=json.dumps(SCHEDULED), **tables)
    print(f"{len(results)} runs, {sum(len(r['timesteps']) for r in results)} rows")


if __name__ == "__main__":
    main()
