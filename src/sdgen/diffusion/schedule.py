"""The noise schedule a network was trained with, read from a diffusers ``scheduler_config.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from reprlib import repr as short
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdgen.diffusion.choices import KARRAS, PREDICTION_TYPES, SPACINGS
from sdgen.errors import CheckpointError

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

MOST_TIMESTEPS = 100_000
"""The most timesteps of a training schedule: a hundred times what any model has."""

# Settings that change the picture and that no latent diffusion checkpoint needs, with the values under which
# they change nothing. A setting that is absent or null is fine.
_SUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "clip_sample": (False,),
    "thresholding": (False,),
    "variance_type": ("fixed_small",),
    "interpolation_type": ("linear",),
    "timestep_type": ("discrete",),
    "lambda_min_clipped": (-math.inf,),
    "final_sigmas_type": ("zero", "sigma_min"),
    "use_lu_lambdas": (False,),
    "use_flow_sigmas": (False,),
}


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """How much signal and noise a latent holds at each training timestep.

    At timestep t a noisy latent is ``sqrt(alphas_cumprod[t]) x0 + sqrt(1 - alphas_cumprod[t]) noise``.

    Attributes:
        alphas_cumprod: float64 (T,), falling from almost 1 to almost 0, or to 0 with zero terminal SNR.
            They are float32 values, rounded as PyTorch rounds them: networks were trained with those.
        prediction_type: what the network puts out: 'epsilon', 'v_prediction', 'sample' or 'karras'.
        timestep_spacing: 'leading', 'trailing' or 'linspace' (Lin et al. 2024, table 2).
        steps_offset: what 'leading' spacing adds to every timestep.
        final_alpha_cumprod: the signal level after the last step of DDIM and PLMS.
    """

    alphas_cumprod: Array
    prediction_type: str
    timestep_spacing: str
    steps_offset: int
    final_alpha_cumprod: float

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> NoiseSchedule:
        """The schedule that a ``scheduler_config.json``, as a mapping, describes; of any scheduler class.

        Raises:
            CheckpointError: a setting is missing or of a kind that sdgen does not draw with.
        """
        betas = _betas(config)
        with np.errstate(all="ignore"):
            if config.get("rescale_betas_zero_snr"):
                betas = rescale_zero_terminal_snr(betas)
            alphas_cumprod = _cumprod(1 - betas).astype(np.float64)
        if not (alphas_cumprod[:-1] > 0).all() or not 0 <= alphas_cumprod[-1] < 1:
            raise CheckpointError(
                "the scheduler config's betas add no noise, or leave nothing before the last timestep; copy "
                "the model's scheduler_config.json again"
            )
        to_one = config.get("set_alpha_to_one", True)
        return cls(
            alphas_cumprod=alphas_cumprod,
            prediction_type=_choice(config, "prediction_type", (*PREDICTION_TYPES, KARRAS), "epsilon"),
            timestep_spacing=_choice(config, "timestep_spacing", SPACINGS, "leading"),
            steps_offset=whole(config, "steps_offset", 0, (0, MOST_TIMESTEPS)),
            final_alpha_cumprod=1.0 if to_one else float(alphas_cumprod[0]),
        )

    @property
    def num_train_timesteps(self) -> int:
        """T, the number of training timesteps."""
        return len(self.alphas_cumprod)

    def cumulative_alphas(self, timesteps: Array) -> Array:
        """Signal levels at whole timesteps, float64, same shape; ``final_alpha_cumprod`` below timestep 0."""
        inside = self.alphas_cumprod[np.maximum(timesteps, 0).astype(np.int64)]
        return np.where(timesteps < 0, self.final_alpha_cumprod, inside)

    @property
    def zero_snr(self) -> bool:
        """Whether the last timestep is noise alone."""
        return bool(self.alphas_cumprod[-1] == 0)

    @property
    def sigmas(self) -> Array32:
        """Noise-to-signal ratios ``sqrt((1 - a) / a)``, float32 (T,), rising.

        At zero terminal SNR the last one is 4096, as in diffusers, instead of infinite (a = 2**-24).
        """
        alphas_cumprod = self.alphas_cumprod.astype(np.float32)
        if self.zero_snr:
            alphas_cumprod[-1] = 2**-24
        return np.asarray(np.sqrt((1 - alphas_cumprod) / alphas_cumprod))


def check_sampling(config: Mapping[str, Any]) -> None:
    """Refuse a scheduler config that asks for what the samplers do not do, such as clipping.

    Raises:
        CheckpointError: naming the setting.
    """
    for setting, supported in _SUPPORTED.items():
        value = config.get(setting)
        if value is not None and value not in supported:
            raise _unsupported(setting, value, supported)


def number(
    config: Mapping[str, Any], setting: str, default: float | None, limits: tuple[float, float]
) -> float:
    """A number of a scheduler config, or ``default`` where it says nothing.

    Raises:
        CheckpointError: it is none, or outside of ``limits``; or there is none and no default.
    """
    value = default if config.get(setting) is None else config[setting]
    low, high = limits
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise CheckpointError(
            f"the scheduler config needs a number from {low} to {high} for {setting!r}, not {short(value)}"
        )
    return float(value)


def whole(config: Mapping[str, Any], setting: str, default: int, limits: tuple[int, int]) -> int:
    """As ``number``, a whole one.

    Raises:
        CheckpointError: as ``number`` does.
    """
    value = number(config, setting, default, limits)
    if value != int(value):
        raise CheckpointError(f"the scheduler config needs a whole number for {setting!r}, not {value}")
    return int(value)


def rescale_zero_terminal_snr(betas: Array32) -> Array32:
    """Betas whose last timestep is noise alone (Lin et al. 2024, algorithm 1); float32 (T,) both ways."""
    sqrt_cumprod = np.sqrt(_cumprod(1 - betas))
    first, last = sqrt_cumprod[0], sqrt_cumprod[-1]
    cumprod = ((sqrt_cumprod - last) * (first / (first - last))) ** 2
    alphas = np.concatenate([cumprod[:1], cumprod[1:] / cumprod[:-1]])
    return np.asarray(1 - alphas)


def _betas(config: Mapping[str, Any]) -> Array32:
    trained = config.get("trained_betas")
    if trained is not None:
        return _trained_betas(trained)
    steps = whole(config, "num_train_timesteps", 1000, (1, MOST_TIMESTEPS))
    name = _choice(config, "beta_schedule", ("linear", "scaled_linear", "squaredcos_cap_v2"))
    if name == "squaredcos_cap_v2":
        return _cosine_betas(steps)
    start, end = (number(config, setting, None, (0, 1)) for setting in ("beta_start", "beta_end"))
    if name == "linear":
        return _linspace32(start, end, steps)
    return np.asarray(_linspace32(start**0.5, end**0.5, steps) ** 2)


def _trained_betas(values: Any) -> Array32:
    try:
        betas = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        betas = np.empty(0, np.float32)
    if betas.ndim != 1 or not 0 < len(betas) <= MOST_TIMESTEPS or not ((betas >= 0) & (betas <= 1)).all():
        raise CheckpointError("the scheduler config needs numbers of 0 to 1 for 'trained_betas'")
    return betas


def _cosine_betas(steps: int, max_beta: float = 0.999) -> Array32:
    """The squared cosine schedule (Nichol and Dhariwal 2021, equation 17), betas capped."""

    def alpha_bar(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - alpha_bar((i + 1) / steps) / alpha_bar(i / steps), max_beta) for i in range(steps)]
    return np.asarray(betas, np.float32)


def _linspace32(start: float, end: float, steps: int) -> Array32:
    """``torch.linspace`` in float32: from both ends to the middle, each value rounded once."""
    low, high = np.float32(start), np.float32(end)
    if steps == 1:
        return np.asarray([low], np.float32)
    step = np.float64((high - low) / np.float32(steps - 1))
    i = np.arange(steps)
    values = np.where(i < steps // 2, np.float64(low) + step * i, np.float64(high) - step * (steps - 1 - i))
    return np.asarray(values, np.float32)


def _cumprod(values: Array32) -> Array32:
    """Cumulative product, accumulated in float64 as PyTorch does on the CPU."""
    return np.cumprod(values, dtype=np.float64).astype(np.float32)


def _choice(
    config: Mapping[str, Any], setting: str, names: tuple[str, ...], default: str | None = None
) -> str:
    value = config.get(setting, default)
    if value not in names:
        raise _unsupported(setting, value, names)
    return str(value)


def _unsupported(setting: str, value: Any, supported: tuple[Any, ...]) -> CheckpointError:
    choices = " or ".join(repr(choice) for choice in supported)
    return CheckpointError(
        f"the scheduler config sets {setting!r} to {short(value)}, which sdgen cannot do; set it to {choices}"
    )
