"""Which timesteps and noise levels a sampler visits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdgen.diffusion.schedule import Array, NoiseSchedule, number, whole
from sdgen.errors import InputError


@dataclass(frozen=True, eq=False)
class Plan:
    """What a sampler is asked to do.

    Attributes:
        schedule: the network's noise schedule.
        config: the scheduler config, with the sampler's defaults and the chosen spacing filled in.
        steps: N, at least 1.
        eta: DDIM's share of fresh noise, 0 to 1.
    """

    schedule: NoiseSchedule
    config: Mapping[str, Any]
    steps: int
    eta: float = 0.0


@dataclass(frozen=True, eq=False)
class NoiseLevels:
    """Where a sampler stands before each of its N steps, and after the last.

    Attributes:
        timesteps: float64 (N,), what the network is told; falling, fractional where the schedule says so.
        sigmas: float64 (N + 1,), noise-to-signal ratios; falling, the last is 0 or the smallest of the
            schedule. They are float32 values, as diffusers stores them.
    """

    timesteps: Array
    sigmas: Array


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


def spaced_levels(plan: Plan) -> NoiseLevels:
    """The levels of the sigma-space samplers (Euler, Heun): spaced timesteps, or a curve between their ends.

    Follows ``set_timesteps`` of diffusers' ``EulerDiscreteScheduler``.

    Raises:
        InputError: as ``spaced_timesteps`` does.
    """
    times = spaced_timesteps(plan, fractional=True)
    sigmas = _sigmas_at(plan.schedule, times)
    if curve := _curve(plan.config):
        sigmas = curve(*_ends(plan.config, sigmas[-1], sigmas[0]), plan.steps)
        times = _as_stored(_timesteps_at(plan.schedule, sigmas))
    return _levels(plan, times, sigmas)


def solver_levels(plan: Plan, *, round_cosine: bool) -> NoiseLevels:
    """The levels of DPM-Solver++ and UniPC: whole timesteps, or a curve between the training schedule's ends.

    Follows ``set_timesteps`` of diffusers' ``DPMSolverMultistepScheduler``.

    Args:
        plan: names the spacing and N.
        round_cosine: whether Karras timesteps are rounded on the squared cosine schedule too, not cut off.

    Raises:
        InputError: as ``spaced_timesteps`` does.
    """
    schedule, config = plan.schedule, plan.config
    curve = _curve(config)
    if curve is None:
        times = spaced_timesteps(plan, spare=True)
        return _levels(plan, times, _sigmas_at(schedule, times))
    sigmas = curve(*_ends(config, schedule.sigmas[0], schedule.sigmas[-1]), plan.steps)
    times = _timesteps_at(schedule, sigmas)
    rounds = curve is karras and (round_cosine or config.get("beta_schedule") != "squaredcos_cap_v2")
    return _levels(plan, times.round() if rounds else np.trunc(times), sigmas)


def lcm_timesteps(plan: Plan) -> Array:
    """N of the timesteps that a latent consistency model was distilled on, falling, float64 (N,).

    Raises:
        InputError: there are fewer than N of them.
    """
    total = plan.schedule.num_train_timesteps
    distilled = whole(plan.config, "original_inference_steps", 50, (1, total))
    if plan.steps > distilled:
        raise InputError(f"the sampler 'lcm' takes at most {distilled} steps, not {plan.steps}", "steps")
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


def _curve(config: Mapping[str, Any]) -> Callable[[float, float, int], Array] | None:
    if config.get("use_karras_sigmas"):
        return karras
    return exponential if config.get("use_exponential_sigmas") else None


def _ends(config: Mapping[str, Any], low: float, high: float) -> tuple[float, float]:
    smallest, largest = 1e-6, 1e6
    return (
        number(config, "sigma_min", float(low), (smallest, largest)),
        number(config, "sigma_max", float(high), (smallest, largest)),
    )


def _sigmas_at(schedule: NoiseSchedule, times: Array) -> Array:
    return np.interp(times, np.arange(schedule.num_train_timesteps), schedule.sigmas)


def _timesteps_at(schedule: NoiseSchedule, sigmas: Array) -> Array:
    """Fractional timesteps at which the training schedule has these sigmas, linear in log sigma.

    The logarithms of the schedule are rounded to float32 as in diffusers: which way a timestep is rounded or
    cut off can hang on their last bit.
    """
    log_sigmas = np.log(schedule.sigmas.astype(np.float64)).astype(np.float32)
    wanted = np.log(np.maximum(sigmas, 1e-10))
    low = np.clip(np.searchsorted(log_sigmas, wanted, side="right") - 1, 0, len(log_sigmas) - 2)
    weight = (log_sigmas[low] - wanted) / (log_sigmas[low] - log_sigmas[low + 1])
    weight = np.clip(weight, 0, 1)
    return np.asarray((1 - weight) * low + weight * (low + 1))


def _levels(plan: Plan, times: Array, sigmas: Array) -> NoiseLevels:
    to_smallest = plan.config.get("final_sigmas_type") == "sigma_min"
    last = plan.schedule.sigmas[0] if to_smallest else 0.0
    return NoiseLevels(times, _as_stored(np.append(sigmas, last)))


def _as_stored(values: Array) -> Array:
    return values.astype(np.float32).astype(np.float64)
