"""Samplers by name, and the schedules each can run on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sdgen.diffusion.choices import KARRAS
from sdgen.diffusion.dpm_solver import dpmpp_2m, dpmpp_2m_sde, dpmpp_2s, dpmpp_3m_sde
from sdgen.diffusion.multistep import deis, plms, unipc
from sdgen.diffusion.sampler_names import WITH_ETA
from sdgen.diffusion.schedule import NoiseSchedule, check_sampling
from sdgen.diffusion.single_step import ddim, ddpm, euler, euler_ancestral, lcm, tcd
from sdgen.diffusion.spacing import Plan
from sdgen.diffusion.table import SamplerTable
from sdgen.diffusion.two_evaluations import dpm2, dpm2_ancestral, dpmpp_2s_ancestral, dpmpp_sde, heun
from sdgen.errors import InputError

# What each schedule sets in the scheduler config; the rest stays the model's own.
_CURVES = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
_NO_CURVE = dict.fromkeys(_CURVES, False)
_SCHEDULES: Mapping[str, Mapping[str, Any]] = {
    "normal": _NO_CURVE,
    "karras": {**_NO_CURVE, "use_karras_sigmas": True},
    "exponential": {**_NO_CURVE, "use_exponential_sigmas": True},
    "beta": {**_NO_CURVE, "use_beta_sigmas": True},
    "simple": _NO_CURVE,
    "align-your-steps": _NO_CURVE,
    "sgm-uniform": {**_NO_CURVE, "timestep_spacing": "trailing"},
}
_SPACED = ("normal", "sgm-uniform")
_OWN_LEVELS = ("simple", "align-your-steps")
_CURVED = (*_SPACED, *_OWN_LEVELS, "karras", "exponential", "beta")


@dataclass(frozen=True)
class _Sampler:
    """One sampler, and what diffusers' class for it makes of a scheduler config.

    Attributes:
        make: the table's maker.
        schedules: names of the schedules that it runs on.
        defaults: what the class assumes where the config is silent.
        ignored: settings that the class does not have, at the values that it works by.
    """

    make: Callable[[Plan], SamplerTable]
    schedules: tuple[str, ...]
    defaults: Mapping[str, Any]
    ignored: Mapping[str, Any]


_LEADING = {"timestep_spacing": "leading"}
_LINSPACE = {"timestep_spacing": "linspace"}
_NO_ZERO_SNR = {"rescale_betas_zero_snr": False}
_TO_ZERO = {"final_sigmas_type": "zero"}

_SAMPLERS: Mapping[str, _Sampler] = {
    "ddim": _Sampler(ddim, _SPACED, _LEADING, _NO_CURVE),
    "ddpm": _Sampler(ddpm, _SPACED, _LEADING, _NO_CURVE),
    "euler": _Sampler(euler, _CURVED, _LINSPACE, {}),
    "euler-a": _Sampler(euler_ancestral, _CURVED, _LINSPACE, {**_NO_CURVE, **_TO_ZERO}),
    "heun": _Sampler(heun, _CURVED, _LINSPACE, {**_NO_ZERO_SNR, **_TO_ZERO}),
    "dpmpp-2m": _Sampler(dpmpp_2m, _CURVED, _LINSPACE, {}),
    "dpmpp-2m-sde": _Sampler(dpmpp_2m_sde, _CURVED, _LINSPACE, {}),
    "plms": _Sampler(plms, _SPACED, {**_LEADING, "set_alpha_to_one": False}, {**_NO_CURVE, **_NO_ZERO_SNR}),
    "unipc": _Sampler(unipc, _CURVED, _LINSPACE, {}),
    "deis": _Sampler(deis, _CURVED, _LINSPACE, _NO_ZERO_SNR),
    "dpm2": _Sampler(dpm2, _CURVED, _LINSPACE, {**_NO_ZERO_SNR, **_TO_ZERO}),
    "dpm2-a": _Sampler(dpm2_ancestral, _CURVED, _LINSPACE, {**_NO_ZERO_SNR, **_TO_ZERO}),
    "dpmpp-2s": _Sampler(dpmpp_2s, _CURVED, _LINSPACE, {**_NO_ZERO_SNR, **_LINSPACE}),
    "dpmpp-2s-a": _Sampler(dpmpp_2s_ancestral, _CURVED, _LINSPACE, _TO_ZERO),
    "dpmpp-sde": _Sampler(dpmpp_sde, _CURVED, _LINSPACE, _TO_ZERO),
    "dpmpp-3m-sde": _Sampler(dpmpp_3m_sde, _CURVED, _LINSPACE, {}),
    "lcm": _Sampler(lcm, ("normal",), _LEADING, _NO_CURVE),
    "tcd": _Sampler(tcd, ("normal",), _LEADING, _NO_CURVE),
}


def has_schedule(sampler: str, schedule: str) -> bool:
    """Whether a sampler runs on a schedule; both by name."""
    return schedule in _SAMPLERS[sampler].schedules


def sampler_table(
    config: Mapping[str, Any],
    sampler: str,
    steps: int,
    schedule: str | None = None,
    eta: float = 0.0,
    first: int = 0,
) -> SamplerTable:
    """The table of a sampler for a network with this scheduler config.

    It does what diffusers' class of that sampler does after ``from_config(config)``, also where that class
    ignores a setting: Heun and PLMS know no zero terminal SNR. The sampler's name stands above the config's
    ``algorithm_type``, ``solver_order`` (but that of 'deis'), ``solver_type``, ``predict_x0`` and
    ``skip_prk_steps``. What diffusers has no class for does what k-diffusion's function does on the levels of
    'euler' or 'dpmpp-2m'. Beyond diffusers, 'euler-a' takes every schedule, and 'euler-a', 'plms', 'dpm2' and
    'dpm2-a' take networks that predict the image.

    Args:
        config: a diffusers ``scheduler_config.json`` as a mapping, of any scheduler class.
        sampler: a name of ``sdgen.diffusion.sampler_names.SAMPLERS``.
        steps: 1 to the number of training timesteps; fewer for some samplers.
        schedule: a name of ``sdgen.diffusion.sampler_names.SCHEDULES``, or None for what the config says.
        eta: share of fresh noise, 0 to 1; for ``WITH_ETA`` alone.
        first: the table is that of steps ``first`` to ``steps - 1`` alone, 0 for all of them. A sampler with
            memory begins anew there, as diffusers' class does after ``set_begin_index``; 'plms' as its
            docstring says.

    Raises:
        InputError: the sampler does not know this schedule, step count or eta, or no step is left to run.
        CheckpointError: the config asks for something that sdgen does not draw with.
    """
    if sampler not in _SAMPLERS:
        raise InputError(f"unknown sampler {sampler!r}; choose one of {', '.join(_SAMPLERS)}", "sampler")
    chosen = _SAMPLERS[sampler]
    if schedule is not None and schedule not in chosen.schedules:
        raise InputError(
            f"the sampler {sampler!r} has no schedule {schedule!r}; it has {', '.join(chosen.schedules)}",
            "schedule",
        )
    _check_steps(sampler, steps, first, eta)
    settings = {**chosen.defaults, **config, **chosen.ignored, **_SCHEDULES.get(schedule or "", {})}
    check_sampling(settings)
    noise_schedule = NoiseSchedule.from_config(settings)
    told_levels = noise_schedule.prediction_type == KARRAS
    if told_levels and sampler != "euler":
        raise InputError(f"this model is drawn with the sampler euler alone, not {sampler}", "sampler")
    if noise_schedule.zero_snr and settings.get("use_beta_sigmas"):
        raise InputError(
            "the schedule 'beta' spends nearly all steps of a model with zero terminal SNR on noise alone;"
            " choose another, such as 'karras' or 'normal'",
            "schedule",
        )
    total = noise_schedule.num_train_timesteps
    if steps > total:
        raise InputError(f"this model takes at most {total} steps, not {steps}", "steps")
    levels = schedule if schedule in _OWN_LEVELS else None
    table = chosen.make(Plan(noise_schedule, settings, steps, eta, levels, first))
    if told_levels:
        table = replace(table, timesteps=np.log(table.sigma_in / table.alpha_in) / 4)
    return table.from_step(first) if first else table


def _check_steps(sampler: str, steps: int, first: int, eta: float) -> None:
    """Refuse a number of steps, a step to begin at and a share of fresh noise that no model has.

    Raises:
        InputError: naming the field.
    """
    if steps < 1:
        raise InputError(f"steps must be 1 or more, not {steps}", "steps")
    if not 0 <= first < steps:
        raise InputError(
            f"no step of {steps} is left to run from step {first}; give more strength, or more steps",
            "strength",
        )
    if not 0 <= eta <= 1 or (eta and sampler not in WITH_ETA):
        names = " and ".join(map(repr, WITH_ETA))
        raise InputError(
            f"eta is 0 to 1 for {names} and 0 for other samplers, not {eta} for {sampler!r}", "eta"
        )
