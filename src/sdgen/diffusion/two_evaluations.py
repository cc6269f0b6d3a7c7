"""Samplers that evaluate the network twice a step: two rows of the table.

With y = x √(1 + sigma²), the latents at the noise-to-signal ratio sigma: the first row goes from sigma to a
level ``mid`` and keeps what the second needs, which goes from sigma to ``next``. The last step is the first
row alone. ``x0`` is the denoised image and ``eps`` the noise that the network's output stands for; a star is
what it says at ``mid``. Rows are written as ``mix[row, target, source]``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from sdgen.diffusion.schedule import Array
from sdgen.diffusion.spacing import NoiseLevels, Plan, initial_scale, spaced_levels, timesteps_at
from sdgen.diffusion.table import (
    FIRST,
    SECOND,
    H,
    SamplerTable,
    X,
    data_from_output,
    empty_mix,
    noise_from_output,
    signal_and_noise,
)


def heun(plan: Plan) -> SamplerTable:
    """Heun's method (Karras et al. 2022, algorithm 1; diffusers' ``HeunDiscreteScheduler``).

    y* = y + (next - sigma) eps, then y' = y + (next - sigma) (eps + eps*)/2; mid is next.
    """
    levels = spaced_levels(plan)
    step = _Step.of(levels, levels.sigmas[1:])
    d = (step.next - step.sigma) / step.scale_next
    predict, correct = empty_mix(plan.steps), empty_mix(plan.steps)
    predict[:, X, X] = step.scale / step.scale_next
    predict[:, X, H] = d
    predict[:, FIRST, H] = 1.0
    predict[:, SECOND, X] = 1.0
    correct[:, X, SECOND] = step.scale / step.scale_next
    correct[:, X, FIRST] = correct[:, X, H] = d / 2
    times = np.roll(levels.timesteps, -1)
    return _table(plan, levels, step, times, predict, correct, noise_from_output)


def dpm2(plan: Plan) -> SamplerTable:
    """DPM-Solver-2 (Lu et al. 2022a, as in k-diffusion; diffusers' ``KDPM2DiscreteScheduler``).

    y* = y + (mid - sigma) eps, then y' = y + (next - sigma) eps*, with mid = √(sigma next).
    """
    levels = spaced_levels(plan, round_karras=True)
    step = _Step.of(levels, np.sqrt(levels.sigmas[:-1] * levels.sigmas[1:]))
    return _dpm2(plan, levels, step, step.next, np.zeros(plan.steps))


def dpm2_ancestral(plan: Plan) -> SamplerTable:
    """DPM-Solver-2 to below the next level, then noise (diffusers' ``KDPM2AncestralDiscreteScheduler``).

    As ``dpm2`` with down = next²/sigma for next, then √(next² - down²) z; mid = √(sigma down) = next.
    """
    levels = spaced_levels(plan, round_karras=True)
    step = _Step.of(levels, levels.sigmas[1:])
    return _dpm2(plan, levels, step, *_ancestral(step.sigma, step.next))


def _dpm2(plan: Plan, levels: NoiseLevels, step: _Step, down: Array, up: Array) -> SamplerTable:
    predict, correct = empty_mix(plan.steps), empty_mix(plan.steps)
    predict[:, X, X] = step.scale / step.scale_mid
    predict[:, X, H] = (step.mid - step.sigma) / step.scale_mid
    predict[:, SECOND, X] = 1.0
    correct[:, X, SECOND] = step.scale / step.scale_next
    correct[:, X, H] = (down - step.sigma) / step.scale_next
    times = timesteps_at(plan.schedule, step.mid)
    noise = (np.zeros(plan.steps), up / step.scale_next)
    return _table(plan, levels, step, times, predict, correct, noise_from_output, noise)


def dpmpp_2s_ancestral(plan: Plan) -> SamplerTable:
    """DPM-Solver++(2S) to below the next level, then noise (k-diffusion's ``sample_dpmpp_2s_ancestral``).

    y* = mid/sigma y + (1 - mid/sigma) x0, then y' = down/sigma y + (1 - down/sigma) x0* + √(next² - down²) z,
    with down = next²/sigma and mid = √(sigma down) = next.
    """
    levels = spaced_levels(plan)
    step = _Step.of(levels, levels.sigmas[1:])
    down, up = _ancestral(step.sigma, step.next)
    predict, correct = empty_mix(plan.steps), empty_mix(plan.steps)
    predict[:, X, X] = step.mid / step.sigma * step.scale / step.scale_mid
    predict[:, X, H] = (1 - step.mid / step.sigma) / step.scale_mid
    predict[:, SECOND, X] = 1.0
    correct[:, X, SECOND] = down / step.sigma * step.scale / step.scale_next
    correct[:, X, H] = (1 - down / step.sigma) / step.scale_next
    times = timesteps_at(plan.schedule, step.mid)
    noise = (np.zeros(plan.steps), up / step.scale_next)
    return _table(plan, levels, step, times, predict, correct, data_from_output, noise)


def dpmpp_sde(plan: Plan) -> SamplerTable:
    """DPM-Solver++ on the reverse SDE (k-diffusion's ``sample_dpmpp_sde`` with r = 1/2).

    y* = a y + (1 - a) x0 + u z, then y' = b y + (1 - b) x0* + v (c z + √(1 - c²) z*), with mid = √(sigma
    next), a = mid²/sigma², u = √(mid² - (a sigma)²), b and v the same of next, and c = √((sigma - mid)/(sigma
    - next)). k-diffusion takes both noises from one Brownian motion, over [mid, sigma] and [next, sigma]: c
    is their correlation. The second row finds z in y* again, so that it needs one draw of its own.
    """
    levels = spaced_levels(plan)
    step = _Step.of(levels, np.sqrt(levels.sigmas[:-1] * levels.sigmas[1:]))
    (down_mid, up_mid), (down, up) = _ancestral(step.sigma, step.mid), _ancestral(step.sigma, step.next)
    a, b = down_mid / step.sigma, down / step.sigma
    correlation = np.sqrt((step.sigma - step.mid) / (step.sigma - step.next))
    # In the last step, which is the first row alone, u is 0.
    again = correlation * np.divide(up, up_mid, out=np.zeros(plan.steps), where=up_mid > 0)
    predict, correct = empty_mix(plan.steps), empty_mix(plan.steps)
    predict[:, X, X] = a * step.scale / step.scale_mid
    predict[:, X, H] = (1 - a) / step.scale_mid
    predict[:, FIRST, H] = 1.0
    predict[:, SECOND, X] = 1.0
    correct[:, X, X] = again * step.scale_mid / step.scale_next
    correct[:, X, FIRST] = -again * (1 - a) / step.scale_next
    correct[:, X, SECOND] = (b - again * a) * step.scale / step.scale_next
    correct[:, X, H] = (1 - b) / step.scale_next
    times = timesteps_at(plan.schedule, step.mid)
    noise = (up_mid / step.scale_mid, up * np.sqrt(1 - correlation**2) / step.scale_next)
    return _table(plan, levels, step, times, predict, correct, data_from_output, noise)


@dataclasses.dataclass(frozen=True, eq=False)
class _Step:
    """Levels of each step, float64 (N,): before, in the middle and after, and √(1 + level²) of each.

    The last mid is the last level, and the last y is the result, whatever noise is left in it: scale 1.
    """

    sigma: Array
    mid: Array
    next: Array
    scale: Array
    scale_mid: Array
    scale_next: Array

    @classmethod
    def of(cls, levels: NoiseLevels, mid: Array) -> _Step:
        """The steps of these levels; the mid of the last one does not count."""
        here, after = levels.sigmas[:-1], levels.sigmas[1:]
        mid = np.append(mid[:-1], after[-1])
        scale, scale_mid = np.sqrt(1 + here**2), np.sqrt(1 + mid**2)
        scale_mid[-1] = 1.0
        return cls(here, mid, after, scale, scale_mid, np.append(scale[1:], 1.0))


def _ancestral(sigma: Array, next: Array) -> tuple[Array, Array]:
    """The level to step down to and the noise to add, so that the variance is next²."""
    down = next**2 / sigma
    return down, np.sqrt(np.maximum(next**2 - down**2, 0))


def _table(
    plan: Plan,
    levels: NoiseLevels,
    step: _Step,
    times: Array,
    predict: Array,
    correct: Array,
    h_from_output: Callable[[str, Array, Array], tuple[Array, Array]],
    noise: tuple[Array, Array] | None = None,
) -> SamplerTable:
    """The table of two rows a step, and one for the last.

    Args:
        plan: as the sampler has it.
        levels: of the steps.
        step: the same, with the levels between.
        times: float64 (N,), the timesteps of ``mid``; the last is not used.
        predict, correct: the rows of ``SamplerTable.mix``, float64 (N, 4, 5) each.
        h_from_output: what h is.
        noise: the scales of fresh noise in both rows, float64 (N,) each.
    """

    def interleave(first: Array, second: Array) -> Array:
        return np.stack([first, second], axis=1).reshape(-1, *first.shape[1:])[:-1]

    alpha, sigma = signal_and_noise(interleave(step.sigma, step.mid))
    p, q = h_from_output(plan.schedule.prediction_type, alpha, sigma)
    rows = len(alpha)
    fresh = np.zeros(rows) if noise is None else interleave(*noise)
    return SamplerTable(
        timesteps=interleave(levels.timesteps, times),
        p=p,
        q=q,
        mix=interleave(predict, correct),
        noise=fresh,
        draws=fresh > 0,
        init_scale=initial_scale(plan, step.sigma[0]),
        steps=np.arange(rows) // 2,
        prediction_type=plan.schedule.prediction_type,
        alpha_in=alpha,
        sigma_in=sigma,
    )
