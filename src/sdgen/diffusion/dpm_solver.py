"""DPM-Solver++: samplers that remember denoised images of earlier rows.

``x0`` is the denoised image and ``eps`` the noise that the network's output stands for; (alpha, sigma) are
the weights of image and noise in x and ``lam = log(alpha/sigma)``; ``..._next`` is the value after the step.
Rows are written as ``mix[row, target, source]``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sdgen.diffusion.schedule import Array
from sdgen.diffusion.spacing import NoiseLevels, Plan, solver_levels
from sdgen.diffusion.table import (
    FIRST,
    SECOND,
    H,
    SamplerTable,
    X,
    data_from_output,
    empty_mix,
    signal_and_noise,
)


def dpmpp_2m(plan: Plan) -> SamplerTable:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2; diffusers' ``DPMSolverMultistepScheduler``).

    x' = sigma_next/sigma x + alpha_next (1 - e^-d) (x0 + D/2), where d = lam_next - lam and
    D = (x0 - previous x0) d/(previous d); D is 0 in the first step that runs and, mostly, in the last.
    """
    return _dpmpp(plan, stochastic=False)


def dpmpp_2m_sde(plan: Plan) -> SamplerTable:
    """SDE-DPM-Solver++(2M) (Lu et al. 2022; diffusers' class with the algorithm type 'sde-dpmsolver++').

    x' = sigma_next/sigma e^-d x + alpha_next (1 - e^-2d) (x0 + D/2) + sigma_next √(1 - e^-2d) z, with d and D
    as in ``dpmpp_2m``.
    """
    return _dpmpp(plan, stochastic=True)


def _dpmpp(plan: Plan, stochastic: bool) -> SamplerTable:
    steps, first = plan.steps, plan.first
    levels = solver_levels(plan, round_cosine=False)
    alpha, sigma = signal_and_noise(levels.sigmas)
    d = log_snr_gains(levels.sigmas)
    gain = -alpha[1:] * np.expm1(-2 * d if stochastic else -d)

    first_order_end = levels.sigmas[-1] == 0 or bool(plan.config.get("euler_at_final"))
    if steps < 15:
        first_order_end = first_order_end or lower_order_final(plan)
    ratio = np.zeros(steps)
    last = steps - 1 if first_order_end else steps
    if last > first + 1:
        ratio[first + 1 : last] = d[first + 1 : last] / d[first : last - 1]

    mix = empty_mix(steps)
    mix[:, X, X] = sigma[1:] / sigma[:-1] * (np.exp(-d) if stochastic else 1.0)
    mix[:, X, H] = gain * (1 + ratio / 2)
    mix[:, X, FIRST] = -gain * ratio / 2
    mix[:, FIRST, H] = 1.0
    noise = sigma[1:] * np.sqrt(-np.expm1(-2 * d)) if stochastic else None
    return solver_table(plan, levels, mix, noise)


def dpmpp_3m_sde(plan: Plan) -> SamplerTable:
    """DPM-Solver++(3M) on the reverse SDE (k-diffusion's ``sample_dpmpp_3m_sde``).

    With y = x/alpha, h = 2 (lam_next - lam), phi2 = (e^-h - 1)/h + 1 and phi3 = phi2/h - 1/2: y' = e^-h y +
    (1 - e^-h) x0 + phi2 D1 - phi3 D2 + s √(1 - e^-h) z, where s is the next noise-to-signal ratio and D1, D2
    are the derivatives of x0, times the step and its square, of the parabola through three x0. The second
    step that runs has D2 = 0, the first and the last D1 = 0, too.
    """
    steps, first = plan.steps, plan.first
    levels = solver_levels(plan, round_cosine=False)
    alpha, _ = signal_and_noise(levels.sigmas)
    d = log_snr_gains(levels.sigmas)
    mix = empty_mix(steps)
    mix[:, X, X] = alpha[1:] / alpha[:-1] * np.exp(-2 * d)
    mix[:, X, H] = -alpha[1:] * np.expm1(-2 * d)
    mix[:, FIRST, H] = 1.0
    mix[:, SECOND, FIRST] = 1.0
    for n in range(first + 1, steps):
        if levels.sigmas[n + 1] in (0, levels.sigmas[n]):  # a curve's end may be the level to end at, too
            continue
        # Of the differences x0 - first and first - second, which the memory holds.
        third = n > first + 1
        newer, older = _third_order(d[n], d[n - 1], d[n - 2]) if third else (_phi2(2 * d[n]), 0.0)
        newer, older = newer * d[n] / d[n - 1], older * d[n] / d[n - 2] if third else 0.0
        mix[n, X, [H, FIRST, SECOND]] += alpha[n + 1] * np.array([newer, older - newer, -older])
    noise = alpha[1:] * levels.sigmas[1:] * np.sqrt(-np.expm1(-2 * d))
    return solver_table(plan, levels, mix, noise, draws=levels.sigmas[1:] > 0)


def dpmpp_2s(plan: Plan) -> SamplerTable:
    """DPM-Solver++(2S) (Lu et al. 2022, algorithm 1; diffusers' ``DPMSolverSinglestepScheduler``).

    Pairs of steps: the first is of order 1, and the second goes again from where the first began, over both:
    x'' = sigma''/sigma x + alpha'' (1 - e^-d) (x0 + D/2), where d = lam'' - lam and D = (x0' - x0) d/(lam' -
    lam). The last step is of order 1 where it ends without noise. A run that begins in the middle of a pair
    takes the rest of it at order 1, and the pairs after it are those of the whole run.
    """
    steps = plan.steps
    levels = solver_levels(plan, round_cosine=True)
    alpha, sigma = signal_and_noise(levels.sigmas)
    d = log_snr_gains(levels.sigmas)
    second_order = (np.arange(steps) % 2 == 1) & (np.arange(steps) > plan.first)
    to_zero = levels.sigmas[-1] == 0
    if to_zero or bool(plan.config.get("lower_order_final")):
        second_order[-1] = False

    mix = empty_mix(steps)
    for n in range(steps):
        if second_order[n]:
            over_both = d[n - 1] + d[n]
            gain, ratio = -alpha[n + 1] * np.expm1(-over_both), over_both / d[n - 1]
            mix[n, X, SECOND] = sigma[n + 1] / sigma[n - 1]
            mix[n, X, H] = gain * ratio / 2
            mix[n, X, FIRST] = gain * (1 - ratio / 2)
        else:
            mix[n, X, X] = sigma[n + 1] / sigma[n]
            mix[n, X, H] = -alpha[n + 1] * np.expm1(-d[n])
    mix[:, FIRST, H] = 1.0
    mix[:, SECOND, X] = 1.0
    return solver_table(plan, levels, mix)


def solver_table(
    plan: Plan,
    levels: NoiseLevels,
    mix: Array,
    noise: Array | None = None,
    draws: NDArray[np.bool_] | None = None,
) -> SamplerTable:
    """A table of a row a step whose h is x0; ``noise`` where the solver draws some, by default in each."""
    alpha, sigma = signal_and_noise(levels.sigmas)
    p, q = data_from_output(plan.schedule.prediction_type, alpha[:-1], sigma[:-1])
    return SamplerTable(
        timesteps=levels.timesteps,
        p=p,
        q=q,
        mix=mix,
        noise=np.zeros(plan.steps) if noise is None else noise,
        draws=np.full(plan.steps, noise is not None) if draws is None else draws,
        init_scale=1.0,
        steps=np.arange(plan.steps),
        prediction_type=plan.schedule.prediction_type,
        alpha_in=alpha[:-1],
        sigma_in=sigma[:-1],
    )


def log_snr_gains(sigmas: Array) -> Array:
    """lam_next - lam of each step, float64 (N,); infinite where the last sigma is 0."""
    with np.errstate(divide="ignore"):
        return -np.diff(np.log(sigmas))


def lower_order_final(plan: Plan) -> bool:
    return bool(plan.config.get("lower_order_final", True))


def _phi2(h: float) -> float:
    return float(np.expm1(-h) / h + 1)


def _third_order(d: float, d_1: float, d_2: float) -> tuple[float, float]:
    """The weights in y' of the divided differences (x0 - first) d/d_1 and (first - second) d/d_2."""
    r_0, r_1 = d_1 / d, d_2 / d
    phi_2 = _phi2(2 * d)
    phi_3 = phi_2 / (2 * d) - 1 / 2
    shared = (phi_2 * r_0 - phi_3) / (r_0 + r_1)
    return phi_2 + shared, -shared
