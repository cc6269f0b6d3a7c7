"""The sampler table: a sampling run as the coefficients of a linear recurrence."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sdgen.diffusion.choices import KARRAS
from sdgen.diffusion.schedule import Array, NoiseSchedule
from sdgen.errors import InputError

X, FIRST, SECOND, THIRD, H = range(5)
"""Columns of ``SamplerTable.mix``: the latents, three memory slots and h. All but H are rows of it too."""

ESTIMATE, SLOTS = 4, 5
"""The denoised estimate's place in the state that the loop carries, after those rows; and how many it has."""


@dataclass(frozen=True, eq=False)
class SamplerTable:
    """A sampler, a step count and a noise schedule as numbers; one compiled loop runs them all.

    Each row is one evaluation of the network. With m its output for the latents x at ``timesteps[r]``, and z
    standard normal::

        h      = p[r] x + q[r] m
        state' = mix[r] @ [x, memory_0, memory_1, memory_2, h]
        x'     = state'[0] + noise[r] z

    x is variance preserving throughout: it is the network's input as it stands. The memory starts as zeros.

    Attributes:
        timesteps: float64 (rows,), what the network is told; fractional for some schedules.
        p, q: float64 (rows,); h is the denoised image, the noise or the plain output, as suits the sampler.
        mix: float64 (rows, 4, 5).
        noise: float64 (rows,), the scale of fresh noise.
        draws: bool (rows,), whether diffusers draws z from its generator here, be it to scale it by 0.
        init_scale: initial latents of a run from noise alone are this times standard normal noise.
        steps: int64 (rows,), the step that a row belongs to, from 0 for the first that the table has.
        prediction_type: what the network puts out: 'epsilon', 'v_prediction', 'sample' or 'karras'.
        alpha_in, sigma_in: float64 (rows,), weights of image and noise in the x that the row starts from.
            Those of the first row say how a run from an image begins: alpha_in x0 + sigma_in noise.
    """

    timesteps: Array
    p: Array
    q: Array
    mix: NDArray[np.float64]
    noise: Array
    draws: NDArray[np.bool_]
    init_scale: float
    steps: NDArray[np.int64]
    prediction_type: str
    alpha_in: Array
    sigma_in: Array

    @property
    def alpha(self) -> Array:
        """float64 (rows,), the weight of the image in x after each row; 1 after the last, which is the image.

        It is what the next row starts from, as the reference takes it where a picture is known in part
        (diffusers' StableDiffusionInpaintPipeline: ``add_noise`` at the next timestep).
        """
        return np.append(self.alpha_in[1:], 1.0)

    @property
    def sigma(self) -> Array:
        """float64 (rows,), the weight of the noise in x after each row; 0 after the last."""
        return np.append(self.sigma_in[1:], 0.0)

    @property
    def data_p(self) -> Array:
        """float64 (rows,); ``data_p x + data_q m`` is the denoised image that the network sees in a row."""
        return data_from_output(self.prediction_type, self.alpha_in, self.sigma_in)[0]

    @property
    def data_q(self) -> Array:
        """float64 (rows,); see ``data_p``."""
        return data_from_output(self.prediction_type, self.alpha_in, self.sigma_in)[1]

    def from_step(self, first: int) -> SamplerTable:
        """The rows of the steps from ``first`` on, which are steps 0, 1, ... of the table that comes back."""
        kept = self.steps >= first
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        rows = {name: value[kept] for name, value in values.items() if isinstance(value, np.ndarray)}
        return SamplerTable(**{**values, **rows, "steps": self.steps[kept] - first})

    def steps_done(self, rows: int) -> int:
        """How many steps are complete after so many rows, 0 to ``len(timesteps)``."""
        return int(self.steps[rows] if rows < len(self.steps) else self.steps[-1] + 1)


def signal_and_noise(sigmas: Array) -> tuple[Array, Array]:
    """Noise-to-signal ratios as the weights (alpha, sigma) of image and noise, alpha² + sigma² = 1."""
    alpha = 1 / np.sqrt(1 + sigmas**2)
    return alpha, sigmas * alpha


def data_from_output(prediction_type: str, alpha: Array, sigma: Array) -> tuple[Array, Array]:
    """(p, q) such that ``p x + q m`` is the denoised image, where x = alpha x0 + sigma noise."""
    if prediction_type == "epsilon":
        return 1 / alpha, -sigma / alpha
    if prediction_type == "v_prediction":
        return alpha, -sigma
    if prediction_type == KARRAS:
        return alpha, sigma
    return np.zeros_like(alpha), np.ones_like(alpha)


def noise_from_output(prediction_type: str, alpha: Array, sigma: Array) -> tuple[Array, Array]:
    """(p, q) such that ``p x + q m`` is the noise, where x = alpha x0 + sigma noise and sigma is not 0."""
    if prediction_type == "epsilon":
        return np.zeros_like(alpha), np.ones_like(alpha)
    if prediction_type == "v_prediction":
        return sigma, alpha
    if prediction_type == KARRAS:
        return sigma, -alpha
    return 1 / sigma, -alpha / sigma


def one_step_table(
    schedule: NoiseSchedule,
    timesteps: Array,
    alpha: Array,
    sigma: Array,
    *,
    to_data: Array,
    to_noise: Array,
    fresh: Array | float = 0.0,
    draws: NDArray[np.bool_] | bool = False,
    init_scale: float = 1.0,
) -> SamplerTable:
    """The table of a sampler without memory: x' = to_data x0 + to_noise noise + fresh z, all float64 (N,).

    h is the noise where the network predicts noise and the image elsewhere: so float32 loses least.

    Raises:
        InputError: the network predicts noise and some alpha is 0.
    """
    rows = len(timesteps)
    mix = empty_mix(rows)
    if schedule.prediction_type == "epsilon":
        refuse_zero_alpha(alpha)
        p, q = noise_from_output("epsilon", alpha, sigma)
        mix[:, X, X] = to_data / alpha
        mix[:, X, H] = to_noise - to_data * sigma / alpha
    else:
        p, q = data_from_output(schedule.prediction_type, alpha, sigma)
        mix[:, X, X] = to_noise / sigma
        mix[:, X, H] = to_data - to_noise * alpha / sigma
    return SamplerTable(
        timesteps=timesteps,
        p=p,
        q=q,
        mix=mix,
        noise=np.broadcast_to(np.asarray(fresh, np.float64), (rows,)),
        draws=np.broadcast_to(np.asarray(draws), (rows,)),
        init_scale=init_scale,
        steps=np.arange(rows),
        prediction_type=schedule.prediction_type,
        alpha_in=alpha,
        sigma_in=sigma,
    )


def empty_mix(rows: int) -> NDArray[np.float64]:
    """Zeros of the shape of ``SamplerTable.mix``."""
    return np.zeros((rows, 4, 5))


def refuse_zero_alpha(alpha: Array) -> None:
    """Refuse a step from noise alone, where a network that predicts the noise says nothing about the image.

    Raises:
        InputError: some alpha is 0.
    """
    if np.any(alpha == 0):
        raise InputError(
            "this sampler cannot start from noise alone (zero terminal SNR) with this network;"
            " choose the sampler euler or dpmpp-2m",
            "sampler",
        )
