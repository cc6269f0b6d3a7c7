"""Samplers that remember: earlier outputs, or the latents of an earlier row.

``x0`` is the denoised image and ``eps`` the noise that the network's output stands for; (alpha, sigma) are
the weights of image and noise in x and ``lam = log(alpha/sigma)``; ``..._next`` is the value after the step.
Rows are written as ``mix[row, target, source]``.
"""

from __future__ import annotations

import numpy as np

from sdgen.diffusion.schedule import Array
from sdgen.diffusion.spacing import (
    NoiseLevels,
    Plan,
    initial_scale,
    solver_levels,
    spaced_levels,
    spaced_timesteps,
)
from sdgen.diffusion.table import (
    FIRST,
    SECOND,
    THIRD,
    H,
    SamplerTable,
    X,
    data_from_output,
    empty_mix,
    noise_from_output,
    refuse_zero_alpha,
    signal_and_noise,
)

_ADAMS_BASHFORTH = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


def heun(plan: Plan) -> SamplerTable:
    """Heun's method (Karras et al. 2022, algorithm 1; diffusers' ``HeunDiscreteScheduler``).

    With y = x √(1 + sigma²) and d = sigma_next - sigma: y* = y + d eps, then y' = y + d (eps + eps*)/2,
    where eps* is the noise at y* and sigma_next. Two rows a step; the last step, to 0, is Euler's.
    """
    levels = spaced_levels(plan)
    sigma, sigma_next = levels.sigmas[:-1], levels.sigmas[1:]
    scale, scale_next = np.sqrt(1 + sigma**2), np.append(np.sqrt(1 + sigma[1:] ** 2), 1.0)
    d = sigma_next - sigma

    predict, correct = empty_mix(plan.steps), empty_mix(plan.steps)
    predict[:, X, X] = scale / scale_next
    predict[:, X, H] = d / scale_next
    predict[:, FIRST, H] = 1.0
    predict[:, SECOND, X] = 1.0
    correct[:, X, SECOND] = scale / scale_next
    correct[:, X, FIRST] = correct[:, X, H] = d / scale_next / 2

    def two_rows(first: Array, second: Array) -> Array:
        return np.stack([first, second], axis=1).reshape(-1, *first.shape[1:])[:-1]

    def here_then_next(values: Array) -> Array:
        return two_rows(values, np.roll(values, -1))

    alpha, noise = signal_and_noise(here_then_next(sigma))
    rows = len(alpha)
    p, q = noise_from_output(plan.schedule.prediction_type, alpha, noise)
    return SamplerTable(
        timesteps=here_then_next(levels.timesteps),
        p=p,
        q=q,
        mix=two_rows(predict, correct),
        noise=np.zeros(rows),
        draws=np.zeros(rows, bool),
        init_scale=initial_scale(plan, sigma[0]),
        steps=np.arange(rows) // 2,
    )


def dpmpp_2m(plan: Plan) -> SamplerTable:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2; diffusers' ``DPMSolverMultistepScheduler``).

    x' = sigma_next/sigma x + alpha_next (1 - e^-d) (x0 + D/2), where d = lam_next - lam and
    D = (x0 - previous x0) d/(previous d); D is 0 in the first step and, mostly, in the last.
    """
    return _dpmpp(plan, stochastic=False)


def dpmpp_2m_sde(plan: Plan) -> SamplerTable:
    """SDE-DPM-Solver++(2M) (Lu et al. 2022; diffusers' class with the algorithm type 'sde-dpmsolver++').

    x' = sigma_next/sigma e^-d x + alpha_next (1 - e^-2d) (x0 + D/2) + sigma_next √(1 - e^-2d) z, with d and D
    as in ``dpmpp_2m``.
    """
    return _dpmpp(plan, stochastic=True)


def _dpmpp(plan: Plan, stochastic: bool) -> SamplerTable:
    steps = plan.steps
    levels = solver_levels(plan, round_cosine=False)
    alpha, sigma = signal_and_noise(levels.sigmas)
    d = _log_snr_gains(levels.sigmas)
    gain = -alpha[1:] * np.expm1(-2 * d if stochastic else -d)

    first_order_end = levels.sigmas[-1] == 0 or bool(plan.config.get("euler_at_final"))
    if steps < 15:
        first_order_end = first_order_end or _lower_order_final(plan)
    ratio = np.zeros(steps)
    last = steps - 1 if first_order_end else steps
    ratio[1:last] = d[1:last] / d[: last - 1] if last > 1 else 0.0

    mix = empty_mix(steps)
    mix[:, X, X] = sigma[1:] / sigma[:-1] * (np.exp(-d) if stochastic else 1.0)
    mix[:, X, H] = gain * (1 + ratio / 2)
    mix[:, X, FIRST] = -gain * ratio / 2
    mix[:, FIRST, H] = 1.0
    noise = sigma[1:] * np.sqrt(-np.expm1(-2 * d)) if stochastic else None
    return _solver_table(plan, levels, mix, noise)


def unipc(plan: Plan) -> SamplerTable:
    """UniPC of order 2, B2 (Zhao et al. 2023, algorithms 1 and 2; diffusers' ``UniPCMultistepScheduler``).

    Predictor, from y at lam: x' = sigma_next/sigma y + alpha_next (1 - e^-d) (x0 + D/2), as in ``dpmpp_2m``.
    Corrector, once the network has seen x' and x0' is known: y' is the same with c D + c' (x0' - x0) for D/2;
    c and c' make it exact for x0 quadratic in lam. A row corrects the step before it and predicts the next.
    """
    steps = plan.steps
    levels = solver_levels(plan, round_cosine=True)
    alpha, sigma = signal_and_noise(levels.sigmas)
    d = _log_snr_gains(levels.sigmas)
    carry, gain = sigma[1:] / sigma[:-1], -alpha[1:] * np.expm1(-d)
    first_order_end = levels.sigmas[-1] == 0 or _lower_order_final(plan)

    # Memory: FIRST is the y that the last step started from, SECOND the x0 there, THIRD the x0 before.
    mix = empty_mix(steps)
    for n in range(steps):
        y = np.zeros(5)
        if n == 0:
            y[X] = 1.0
        else:
            ratio, c, c_new = 0.0, 0.0, 1 / 2
            if n > 1:
                ratio = d[n - 1] / d[n - 2]
                c, c_new = _unipc_corrector(d[n - 1], ratio)
            y[FIRST] = carry[n - 1]
            y[SECOND] = gain[n - 1] * (1 + c * ratio - c_new)
            y[THIRD] = -gain[n - 1] * c * ratio
            y[H] = gain[n - 1] * c_new
        second_order = n > 0 and not (n == steps - 1 and first_order_end)
        ratio = d[n] / d[n - 1] if second_order else 0.0
        mix[n, X] = carry[n] * y
        mix[n, X, H] += gain[n] * (1 + ratio / 2)
        mix[n, X, SECOND] -= gain[n] * ratio / 2
        mix[n, FIRST] = y
    mix[:, SECOND, H] = 1.0
    mix[:, THIRD, SECOND] = 1.0
    return _solver_table(plan, levels, mix)


def plms(plan: Plan) -> SamplerTable:
    """Pseudo linear multistep (Liu et al. 2022; diffusers' ``PNDMScheduler`` without Runge-Kutta steps).

    x' = √(a_next/a) x + (√(1 - a_next) - √(a_next/a) √(1 - a)) e, where e is the Adams-Bashforth combination
    of up to four outputs. The first step takes two rows: the second starts over with the mean of both rows'
    outputs.

    As in diffusers, the outputs of a network that predicts v are combined first and turned into noise after.
    """
    stride = plan.schedule.num_train_timesteps // plan.steps
    times = spaced_timesteps(plan)
    times = np.concatenate([times[:2], times[1:]])
    starts, ends = times.copy(), times - stride
    starts[1:2], ends[1:2] = times[1:2] + stride, times[1:2]
    a, a_next = plan.schedule.cumulative_alphas(starts), plan.schedule.cumulative_alphas(ends)
    refuse_zero_alpha(a)
    keep = np.sqrt(a_next / a)
    add = np.sqrt(1 - a_next) - keep * np.sqrt(1 - a)
    if plan.schedule.prediction_type == "v_prediction":
        keep, add = keep + add * np.sqrt(1 - a), add * np.sqrt(a)

    rows = len(times)
    mix = empty_mix(rows)
    for n in range(rows):
        order = min(max(n, 1), 4)
        mix[n, X, X] = keep[n]
        mix[n, X, [H, FIRST, SECOND, THIRD][:order]] = add[n] * np.array(_ADAMS_BASHFORTH[order - 1])
        mix[n, [FIRST, SECOND, THIRD], [H, FIRST, SECOND]] = 1.0
    mix[0, SECOND] = [1.0, 0.0, 0.0, 0.0, 0.0]
    if rows > 1:
        mix[1] = 0.0
        mix[1, X, SECOND] = keep[1]
        mix[1, X, [H, FIRST]] = add[1] / 2
        mix[1, FIRST, FIRST] = 1.0

    p, q = np.zeros(rows), np.ones(rows)
    if plan.schedule.prediction_type == "sample":
        here = plan.schedule.cumulative_alphas(times)
        p, q = noise_from_output("sample", np.sqrt(here), np.sqrt(1 - here))
    return SamplerTable(
        timesteps=times,
        p=p,
        q=q,
        mix=mix,
        noise=np.zeros(rows),
        draws=np.zeros(rows, bool),
        init_scale=1.0,
        steps=np.maximum(np.arange(rows) - 1, 0),
    )


def _solver_table(plan: Plan, levels: NoiseLevels, mix: Array, noise: Array | None = None) -> SamplerTable:
    """A table of a row a step whose h is x0; ``noise`` where the solver draws some."""
    alpha, sigma = signal_and_noise(levels.sigmas)
    p, q = data_from_output(plan.schedule.prediction_type, alpha[:-1], sigma[:-1])
    return SamplerTable(
        timesteps=levels.timesteps,
        p=p,
        q=q,
        mix=mix,
        noise=np.zeros(plan.steps) if noise is None else noise,
        draws=np.full(plan.steps, noise is not None),
        init_scale=1.0,
        steps=np.arange(plan.steps),
    )


def _log_snr_gains(sigmas: Array) -> Array:
    """lam_next - lam of each step, float64 (N,); infinite where the last sigma is 0."""
    with np.errstate(divide="ignore"):
        return -np.diff(np.log(sigmas))


def _lower_order_final(plan: Plan) -> bool:
    return bool(plan.config.get("lower_order_final", True))


def _unipc_corrector(d: float, ratio: float) -> tuple[float, float]:
    """(c, c') of ``unipc``: the linear system of Zhao et al. 2023 for p = 2, with h = -d and r = -1/ratio."""
    h = -d
    b_1 = (np.expm1(h) / h - 1) / np.expm1(h)
    b_2 = 2 * ((np.expm1(h) / h - 1) / h - 1 / 2) / np.expm1(h)
    c = (b_1 - b_2) / (1 + 1 / ratio)
    return c, b_1 - c
