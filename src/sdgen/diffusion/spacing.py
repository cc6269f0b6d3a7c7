"""Which timesteps and noise levels a sampler visits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sdgen.diffusion.schedule import Array, NoiseSchedule, number, whole
from sdgen.errors import InputError

_ALIGNED = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
"""Sabour et al. 2024: the levels of 10 steps of Stable Diffusion 1.5; the last is where the steps end."""


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """What a sampler is asked to do.

    Attributes:
        schedule: the network's noise schedule.
        config: the scheduler config, with the sampler's defaults and the chosen spacing filled in.
        steps: N, at least 1.
        eta: the share of fresh noise of DDIM and TCD, 0 to 1.
        levels: 'simple' or 'align-your-steps' in place of the config's levels; else None.
        first: the step to begin at, 0 to N - 1: the memory of a sampler holds nothing of the steps before it.
            What depends on N, such as a lower order at the end of few steps, goes by all N.
    """

    schedule: NoiseSchedule
    config: Mapping[str, Any]
    steps: int
    eta: float = 0.0
    levels: str | None = None
    first: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class NoiseLevels:
    """Where a sampler stands before each of its N steps, and after the last.

    Attributes:
        timesteps: float64 (N,), what the network is told; falling, fractional where the schedule says so.
        sigmas: float64 (N + 1,), noise-to-signal ratios; falling, the last is 0 or the smallest of the
            schedule. They are float32 values, as diffusers stores them.
        curved: whether the levels lie on a curve between the ends of the schedule.
    """

    timesteps: Array
    sigmas: Array
    curved: bool = False


def spaced_timesteps(plan: Plan, *, fractional: bool = False, spare: bool = False) -> Array:
    """N falling timesteps, float64 (N,), as Lin et al. 2024, table 2, space them.

    Args:
        plan: names the spacing and N.
        fractional: keep the fractions of 'linspace' (the sigma-space samplers of diffusers do).
        spare: space N + 1 timesteps where 0 would be among them and drop it (the DPM-Solver family does).

    Raises:
        InputError: the training schedule has too few timesteps for so many steps.
    """
    schedule, steps = plan.schedule, plan.steps
    total = schedule.num_train_timesteps
    points = steps + 1 if spare else steps
    if schedule.timestep_spacing == "linspace":
        even: Array = np.linspace(0, total - 1, points)[::-1][:steps]
        times = _as_stored(even) if fractional else even.round()
    elif schedule.timestep_spacing == "leading":
        times = np.arange(points)[::-1][:steps] * float(total // points) + schedule.steps_offset
    else:
        # By rounding, arange can give one element too many: for 61 steps of 1000, say.
        times = np.arange(total, 0, -total / steps)[:steps].round() - 1
    if times[0] >= total or np.any(np.diff(times) >= 0):
        raise InputError(
            f"{steps} steps are too many for {schedule.timestep_spacing!r} spacing of {total} timesteps;"
            " ask for fewer steps",
            "steps",
        )
    return times


def spaced_levels(plan: Plan, *, round_karras: bool = False) -> NoiseLevels:
    """The levels of the sigma-space samplers (Euler, Heun): spaced timesteps, or a curve between their ends.

    Follows ``set_timesteps`` of diffusers' ``EulerDiscreteScheduler``.

    Args:
        plan: names the spacing and N.
        round_karras: whether Karras timesteps are rounded, as diffusers' KDPM2 classes do.

    Raises:
        InputError: as ``spaced_timesteps`` does, or the model has no such levels.
    """
    if plan.levels == "simple":
        times = simple_timesteps(plan)
        return _levels(plan, times, _sigmas_at(plan.schedule, times))
    if plan.levels == "align-your-steps":
        sigmas = align_your_steps(plan)
        return _levels(plan, timesteps_at(plan.schedule, sigmas), sigmas)
    times = spaced_timesteps(plan, fractional=True)
    sigmas = _sigmas_at(plan.schedule, times)
    curve = _curve(plan.config)
    if curve is None:
        return _levels(plan, times, sigmas)
    sigmas = curve(*_ends(plan.config, sigmas[-1], sigmas[0]), plan.steps)
    times = timesteps_at(plan.schedule, sigmas)
    rounds = curve is karras and round_karras
    return _levels(plan, times.round() if rounds else times, sigmas, curved=True)


def solver_levels(plan: Plan, *, round_cosine: bool) -> NoiseLevels:
    """The levels of DPM-Solver++ and UniPC: whole timesteps, or a curve between the training schedule's ends.

    Follows ``set_timesteps`` of diffusers' ``DPMSolverMultistepScheduler``.

    Args:
        plan: names the spacing and N.
        round_cosine: whether Karras timesteps are rounded on the squared cosine schedule too, not cut off.

    Raises:
        InputError: as ``spaced_timesteps`` does, or the model has no such levels.
    """
    schedule, config = plan.schedule, plan.config
    if plan.levels is not None:
        levels = spaced_levels(plan)
        return dataclasses.replace(levels, timesteps=levels.timesteps.round())
    curve = _curve(config)
    if curve is None:
        times = spaced_timesteps(plan, spare=True)
        return _levels(plan, times, _sigmas_at(schedule, times))
    sigmas = curve(*_ends(config, schedule.sigmas[0], schedule.sigmas[-1]), plan.steps)
    times = timesteps_at(schedule, sigmas, stored=False)
    rounds = curve is karras and (round_cosine or config.get("beta_schedule") != "squaredcos_cap_v2")
    return _levels(plan, times.round() if rounds else np.trunc(times), sigmas, curved=True)


def simple_timesteps(plan: Plan) -> Array:
    """The timesteps of ComfyUI's and AUTOMATIC1111's ``simple_scheduler``, falling, float64 (N,)."""
    total = plan.schedule.num_train_timesteps
    return np.asarray(total - 1 - np.floor(np.arange(plan.steps) * (total / plan.steps)))


def align_your_steps(plan: Plan) -> Array:
    """N noise levels that Sabour et al. 2024 found for Stable Diffusion 1.5, falling, float64 (N,).

    Theirs are for 10 steps; others are interpolated between them, linearly in log sigma.

    Raises:
        InputError: the model's own levels end far below theirs.
    """
    highest = float(plan.schedule.sigmas[-1])
    if highest < _ALIGNED[0] * 0.99:
        raise InputError(
            f"the schedule 'align-your-steps' begins at a noise level of {_ALIGNED[0]:g}, and this model ends"
            f" at {highest:.3g}; choose 'karras'",
            "schedule",
        )
    places = np.linspace(0, 1, plan.steps + 1)[:-1]
    return np.asarray(np.exp(np.interp(places, np.linspace(0, 1, len(_ALIGNED)), np.log(_ALIGNED))))


def distilled_timesteps(plan: Plan, sampler: str) -> Array:
    """N of the timesteps that a consistency model was distilled on, falling, float64 (N,).

    Raises:
        InputError: there are fewer than N of them.
    """
    total = plan.schedule.num_train_timesteps
    distilled = whole(plan.config, "original_inference_steps", 50, (1, total))
    if plan.steps > distilled:
        raise InputError(
            f"the sampler {sampler!r} takes at most {distilled} steps, not {plan.steps}", "steps"
        )
    chosen = np.floor(np.linspace(0, distilled, plan.steps, endpoint=False))
    return (distilled - chosen) * (total // distilled) - 1


def initial_scale(plan: Plan, sigma: float) -> float:
    """The standard deviation of the first latents of a sigma-space sampler that starts at sigma.

    diffusers draws them at sigma, not at √(1 + sigma²), unless the spacing is 'leading'.
    """
    if plan.schedule.timestep_spacing == "leading":
        return 1.0
    return float(sigma / np.sqrt(1 + sigma**2))


def karras(low: float, high: float, steps: int, rho: float = 7.0) -> Array:
    """Noise levels from high to low, float64 (steps,) (Karras et al. 2022, equation 5)."""
    ramp = np.linspace(0, 1, steps)
    return np.asarray((high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho)


def exponential(low: float, high: float, steps: int) -> Array:
    """Noise levels from high to low, evenly spaced in log sigma, float64 (steps,)."""
    return np.asarray(np.exp(np.linspace(math.log(high), math.log(low), steps)))


def beta(low: float, high: float, steps: int) -> Array:
    """Noise levels from high to low, float64 (steps,), at the quantiles of a Beta(0.6, 0.6) distribution.

    Beta sampling (Lee et al. 2024) in the noise level, as in diffusers and AUTOMATIC1111; in ComfyUI the
    distribution is that of the timesteps.
    """
    return low + beta_quantiles(1 - np.linspace(0, 1, steps)) * (high - low)


def beta_quantiles(p: Array, shape: float = 0.6) -> Array:
    """The inverse of the cumulative distribution function of Beta(shape, shape), shape below 1; as p.

    With t = x^shape, Newton's method on I = t/(shape B) sum_k (1 - shape)_k/k! shape/(shape + k) x^k (DLMF
    8.17.7), which is convex in t; for p above 1/2 by symmetry. B is the beta function.
    """
    k = np.arange(1, 64)
    factors = np.cumprod(np.append(1.0, (k - shape) / k)) * shape / (shape + np.append(0, k))
    norm = shape * math.gamma(shape) ** 2 / math.gamma(2 * shape)
    lower = np.minimum(p, 1 - p)
    t = lower * norm
    for _ in range(12):
        x = t ** (1 / shape)
        t -= (t * np.polynomial.polynomial.polyval(x, factors) - lower * norm) * (1 - x) ** (1 - shape)
    x = t ** (1 / shape)
    return np.where(p > 0.5, 1 - x, x)


def _curve(config: Mapping[str, Any]) -> Callable[[float, float, int], Array] | None:
    if config.get("use_karras_sigmas"):
        return karras
    if config.get("use_exponential_sigmas"):
        return exponential
    return beta if config.get("use_beta_sigmas") else None


def _ends(config: Mapping[str, Any], low: float, high: float) -> tuple[float, float]:
    smallest, largest = 1e-6, 1e6
    return (
        number(config, "sigma_min", float(low), (smallest, largest)),
        number(config, "sigma_max", float(high), (smallest, largest)),
    )


def _sigmas_at(schedule: NoiseSchedule, times: Array) -> Array:
    return np.interp(times, np.arange(schedule.num_train_timesteps), schedule.sigmas)


def timesteps_at(schedule: NoiseSchedule, sigmas: Array, stored: bool = True) -> Array:
    """Fractional timesteps at which the training schedule has these sigmas, linear in log sigma.

    They are float32 values if ``stored``.

    The logarithms of the schedule are rounded to float32 as in diffusers: which way a timestep is rounded or
    cut off can hang on their last bit.
    """
    log_sigmas = np.log(schedule.sigmas.astype(np.float64)).astype(np.float32)
    wanted = np.log(np.maximum(sigmas, 1e-10))
    low = np.clip(np.searchsorted(log_sigmas, wanted, side="right") - 1, 0, len(log_sigmas) - 2)
    weight = (log_sigmas[low] - wanted) / (log_sigmas[low] - log_sigmas[low + 1])
    weight = np.clip(weight, 0, 1)
    times = np.asarray((1 - weight) * low + weight * (low + 1))
    return _as_stored(times) if stored else times


def _levels(plan: Plan, times: Array, sigmas: Array, curved: bool = False) -> NoiseLevels:
    to_smallest = plan.config.get("final_sigmas_type") == "sigma_min"
    last = plan.schedule.sigmas[0] if to_smallest else 0.0
    return NoiseLevels(times, _as_stored(np.append(sigmas, last)), curved)


def _as_stored(values: Array) -> Array:
    return values.astype(np.float32).astype(np.float64)
