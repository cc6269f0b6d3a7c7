"""Samplers without memory: x' = to_data x0 + to_noise eps + fresh z.

``x0`` is the denoised image and ``eps`` the noise that the network's output stands for, ``a`` a cumulative
alpha, ``sigma`` a noise-to-signal ratio; ``..._next`` is the value after the step.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sdgen.diffusion.schedule import Array, number
from sdgen.diffusion.spacing import Plan, distilled_timesteps, initial_scale, spaced_levels, spaced_timesteps
from sdgen.diffusion.table import SamplerTable, one_step_table, signal_and_noise


def ddim(plan: Plan) -> SamplerTable:
    """DDIM (Song et al. 2021, equations 12 and 16; diffusers' ``DDIMScheduler``).

    x' = √a_next x0 + √(1 - a_next - s²) eps + s z, with s = eta √((1 - a_next)/(1 - a)) √(1 - a/a_next)
    """
    times = spaced_timesteps(plan)
    stride = plan.schedule.num_train_timesteps // plan.steps
    a, a_next = plan.schedule.cumulative_alphas(times), plan.schedule.cumulative_alphas(times - stride)
    s = plan.eta * np.sqrt((1 - a_next) / (1 - a) * (1 - a / a_next))
    return one_step_table(
        plan.schedule,
        times,
        np.sqrt(a),
        np.sqrt(1 - a),
        to_data=np.sqrt(a_next),
        to_noise=np.sqrt(np.maximum(1 - a_next - s**2, 0)),
        fresh=s,
        draws=plan.eta > 0,
    )


def ddpm(plan: Plan) -> SamplerTable:
    """DDPM ancestral sampling (Ho et al. 2020, equations 6 and 7; diffusers' ``DDPMScheduler``).

    x' = √a_next b/(1 - a) x0 + √(1 - b) (1 - a_next)/(1 - a) x + √((1 - a_next)/(1 - a) b) z, with b = 1 -
    a/a_next
    """
    times = spaced_timesteps(plan)
    a = plan.schedule.cumulative_alphas(times)
    a_next = np.append(a[1:], 1.0)
    b = 1 - a / a_next
    keep = np.sqrt(1 - b) * (1 - a_next) / (1 - a)
    variance = np.maximum((1 - a_next) / (1 - a) * b, 1e-20)
    draws = times > 0
    return one_step_table(
        plan.schedule,
        times,
        np.sqrt(a),
        np.sqrt(1 - a),
        to_data=np.sqrt(a_next) * b / (1 - a) + keep * np.sqrt(a),
        to_noise=keep * np.sqrt(1 - a),
        fresh=np.where(draws, np.sqrt(variance), 0.0),
        draws=draws,
    )


def euler(plan: Plan) -> SamplerTable:
    """Euler's method on the probability-flow ODE (Karras et al. 2022, algorithm 1 to the first order).

    With y = x √(1 + sigma²): y' = x0 + sigma_next eps (diffusers' ``EulerDiscreteScheduler``).
    """
    return _euler(plan, down=lambda sigma, sigma_next: sigma_next)


def euler_ancestral(plan: Plan) -> SamplerTable:
    """Euler's method to below the next level, then fresh noise up to it (k-diffusion, ``euler_ancestral``).

    With y = x √(1 + sigma²): y' = x0 + down eps + √(sigma_next² - down²) z, with down = sigma_next²/sigma
    (diffusers' ``EulerAncestralDiscreteScheduler``).
    """
    return _euler(plan, down=lambda sigma, sigma_next: sigma_next**2 / sigma, draws=True)


def lcm(plan: Plan) -> SamplerTable:
    """Latent consistency sampling (Luo et al. 2023, algorithm 3; diffusers' ``LCMScheduler``).

    x' = √a_next f + √(1 - a_next) z and at the end x' = f, with f = c_out x0 + c_skip x
    """
    times = distilled_timesteps(plan, "lcm")
    a = plan.schedule.cumulative_alphas(times)
    a_next = np.append(a[1:], 1.0)
    sigma_data, scaled = 0.5, times * number(plan.config, "timestep_scaling", 10.0, (1e-3, 1e3))
    c_skip = sigma_data**2 / (scaled**2 + sigma_data**2)
    c_out = scaled / np.sqrt(scaled**2 + sigma_data**2)
    return one_step_table(
        plan.schedule,
        times,
        np.sqrt(a),
        np.sqrt(1 - a),
        to_data=np.sqrt(a_next) * (c_out + c_skip * np.sqrt(a)),
        to_noise=np.sqrt(a_next) * c_skip * np.sqrt(1 - a),
        fresh=np.sqrt(1 - a_next),
        draws=np.arange(plan.steps) < plan.steps - 1,
    )


def tcd(plan: Plan) -> SamplerTable:
    """Trajectory consistency sampling (Zheng et al. 2024, algorithm 4; diffusers' ``TCDScheduler``).

    x' = √(a_next/a_s) (√a_s x0 + √(1 - a_s) eps) + √(1 - a_next/a_s) z, with s = floor((1 - eta) next): eta,
    the paper's gamma, is 0 for no fresh noise. The last step goes to timestep 0 without any.
    """
    times = distilled_timesteps(plan, "tcd")
    times_next = np.append(times[1:], 0.0)
    a, a_next = plan.schedule.cumulative_alphas(times), plan.schedule.cumulative_alphas(times_next)
    a_s = plan.schedule.cumulative_alphas(np.floor(np.float32(1 - plan.eta) * times_next))
    a_s[-1] = a_next[-1]
    draws = (np.arange(plan.steps) < plan.steps - 1) & (plan.eta > 0)
    return one_step_table(
        plan.schedule,
        times,
        np.sqrt(a),
        np.sqrt(1 - a),
        to_data=np.sqrt(a_next),
        to_noise=np.sqrt(a_next / a_s * (1 - a_s)),
        fresh=np.where(draws, np.sqrt(np.maximum(1 - a_next / a_s, 0)), 0.0),
        draws=draws,
    )


def _euler(plan: Plan, down: Callable[[Array, Array], Array], draws: bool = False) -> SamplerTable:
    levels = spaced_levels(plan)
    sigma, sigma_next = levels.sigmas[:-1], levels.sigmas[1:]
    sigma_down = down(sigma, sigma_next)
    to_input = 1 / np.sqrt(1 + sigma_next**2)
    to_input[-1] = 1.0  # the last y is the result, whatever noise a final sigma above 0 leaves in it
    alpha, noise = signal_and_noise(sigma)
    return one_step_table(
        plan.schedule,
        levels.timesteps,
        alpha,
        noise,
        to_data=to_input,
        to_noise=to_input * sigma_down,
        fresh=to_input * np.sqrt(np.maximum(sigma_next**2 - sigma_down**2, 0)),
        draws=draws,
        init_scale=initial_scale(plan, sigma[0]),
    )
