"""Linear multistep samplers on the noise, and a predictor with its corrector: UniPC, PLMS, DEIS.

``x0`` is the denoised image and ``eps`` the noise that the network's output stands for; (alpha, sigma) are
the weights of image and noise in x and ``lam = log(alpha/sigma)``; ``..._next`` is the value after the step.
Rows are written as ``mix[row, target, source]``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sdgen.diffusion.dpm_solver import log_snr_gains, lower_order_final, solver_table
from sdgen.diffusion.schedule import whole
from sdgen.diffusion.spacing import Plan, solver_levels, spaced_timesteps
from sdgen.diffusion.table import (
    FIRST,
    SECOND,
    THIRD,
    H,
    SamplerTable,
    X,
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


def unipc(plan: Plan) -> SamplerTable:
    """UniPC of order 2, B2 (Zhao et al. 2023, algorithms 1 and 2; diffusers' ``UniPCMultistepScheduler``).

    Predictor, from y at lam: x' = sigma_next/sigma y + alpha_next (1 - e^-d) (x0 + D/2), as in ``dpmpp_2m``.
    Corrector, once the network has seen x' and x0' is known: y' is the same with c D + c' (x0' - x0) for D/2;
    c and c' make it exact for x0 quadratic in lam. A row corrects the step before it and predicts the next.
    The first row that runs corrects nothing, and predicts with D = 0.
    """
    steps, first = plan.steps, plan.first
    levels = solver_levels(plan, round_cosine=True)
    alpha, sigma = signal_and_noise(levels.sigmas)
    d = log_snr_gains(levels.sigmas)
    carry, gain = sigma[1:] / sigma[:-1], -alpha[1:] * np.expm1(-d)
    first_order_end = levels.sigmas[-1] == 0 or lower_order_final(plan)

    # Memory: FIRST is the y that the last step started from, SECOND the x0 there, THIRD the x0 before.
    mix = empty_mix(steps)
    for n in range(first, steps):
        y = np.zeros(5)
        if n == first:
            y[X] = 1.0
        else:
            ratio, c, c_new = 0.0, 0.0, 1 / 2
            if n > first + 1:
                ratio = d[n - 1] / d[n - 2]
                c, c_new = _unipc_corrector(d[n - 1], ratio)
            y[FIRST] = carry[n - 1]
            y[SECOND] = gain[n - 1] * (1 + c * ratio - c_new)
            y[THIRD] = -gain[n - 1] * c * ratio
            y[H] = gain[n - 1] * c_new
        second_order = n > first and not (n == steps - 1 and first_order_end)
        ratio = d[n] / d[n - 1] if second_order else 0.0
        mix[n, X] = carry[n] * y
        mix[n, X, H] += gain[n] * (1 + ratio / 2)
        mix[n, X, SECOND] -= gain[n] * ratio / 2
        mix[n, FIRST] = y
    mix[:, SECOND, H] = 1.0
    mix[:, THIRD, SECOND] = 1.0
    return solver_table(plan, levels, mix)


def plms(plan: Plan) -> SamplerTable:
    """Pseudo linear multistep (Liu et al. 2022; diffusers' ``PNDMScheduler`` without Runge-Kutta steps).

    x' = √(a_next/a) x + (√(1 - a_next) - √(a_next/a) √(1 - a)) e, where e is the Adams-Bashforth combination
    of up to four outputs. The first step takes two rows: the second starts over with the mean of both rows'
    outputs.

    As in diffusers, the outputs of a network that predicts v are combined first and turned into noise after.

    A run that begins at a later step begins in the same way: two rows for that step, then ever more outputs.
    diffusers cuts the timesteps at a place that counts the repeated one, and from there on its levels are one
    step away from those that the latents have.
    """
    stride = plan.schedule.num_train_timesteps // plan.steps
    times = spaced_timesteps(plan)[plan.first :]
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
    here = plan.schedule.cumulative_alphas(times)
    if plan.schedule.prediction_type == "sample":
        p, q = noise_from_output("sample", np.sqrt(here), np.sqrt(1 - here))
    return SamplerTable(
        timesteps=times,
        p=p,
        q=q,
        mix=mix,
        noise=np.zeros(rows),
        draws=np.zeros(rows, bool),
        init_scale=1.0,
        steps=plan.first + np.maximum(np.arange(rows) - 1, 0),
        prediction_type=plan.schedule.prediction_type,
        alpha_in=np.sqrt(here),
        sigma_in=np.sqrt(1 - here),
    )


def deis(plan: Plan) -> SamplerTable:
    """DEIS, log-rho multistep (Zhang and Chen 2023, section 4; diffusers' ``DEISMultistepScheduler``).

    With rho = sigma/alpha: x' = alpha_next (x/alpha + the integral of eps over rho, from here to the next),
    eps being the polynomial in log rho through the last outputs. The config's ``solver_order`` says how many,
    1 to 3, and 2 where it is silent.

    As in diffusers, the last step ends at the smallest level of the training schedule, and on a curve of its
    own at the level where it stands.
    """
    steps, first, order = plan.steps, plan.first, whole(plan.config, "solver_order", 2, (1, 3))
    levels = solver_levels(plan, round_cosine=True)
    rho = levels.sigmas.copy()
    rho[-1] = rho[-2] if levels.curved else plan.schedule.sigmas[0]
    alpha, sigma = signal_and_noise(rho)
    careful_end = steps < 15 and lower_order_final(plan)
    mix = empty_mix(steps)
    for n in range(first, steps):
        usable = min(order, n - first + 1, steps - n if careful_end else order)
        weights = [_integral(k, rho[n - usable + 1 : n + 1][::-1], rho[n], rho[n + 1]) for k in range(usable)]
        mix[n, X, X] = alpha[n + 1] / alpha[n]
        mix[n, X, [H, FIRST, SECOND][:usable]] = alpha[n + 1] * np.array(weights)
    mix[:, FIRST, H] = 1.0
    mix[:, SECOND, FIRST] = 1.0
    p, q = noise_from_output(plan.schedule.prediction_type, alpha[:-1], sigma[:-1])
    return SamplerTable(
        timesteps=levels.timesteps,
        p=p,
        q=q,
        mix=mix,
        noise=np.zeros(steps),
        draws=np.zeros(steps, bool),
        init_scale=1.0,
        steps=np.arange(steps),
        prediction_type=plan.schedule.prediction_type,
        alpha_in=alpha[:-1],
        sigma_in=sigma[:-1],
    )


def _integral(k: int, nodes: Sequence[float], start: float, end: float) -> float:
    """The integral over rho of the Lagrange polynomial in log rho that is 1 at node k and 0 at the others.

    By powers of log rho: the integral of log t is t (log t - 1), that of log² t is t (log² t - 2 log t + 2).
    """
    logs = np.log(nodes)
    others = np.delete(logs, k)
    polynomial = np.atleast_1d(np.poly(others) / np.prod(logs[k] - others))

    def primitive(t: float) -> float:
        log = np.log(t)
        powers = [t * (log**2 - 2 * log + 2), t * (log - 1), t]
        return float(np.dot(polynomial, powers[-len(polynomial) :]))

    return primitive(end) - primitive(start)


def _unipc_corrector(d: float, ratio: float) -> tuple[float, float]:
    """(c, c') of ``unipc``: the linear system of Zhao et al. 2023 for p = 2, with h = -d and r = -1/ratio."""
    h = -d
    b_1 = (np.expm1(h) / h - 1) / np.expm1(h)
    b_2 = 2 * ((np.expm1(h) / h - 1) / h - 1 / 2) / np.expm1(h)
    c = (b_1 - b_2) / (1 + 1 / ratio)
    return c, b_1 - c
