"""Noise schedules and spacings: equal to diffusers' and to the tables of the papers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdgen.diffusion.samplers import sampler_table
from sdgen.diffusion.schedule import NoiseSchedule
from sdgen.diffusion.spacing import beta, beta_quantiles, exponential, karras
from sdgen.errors import CheckpointError, InputError

GOLDEN = np.load(Path(__file__).parent / "golden/schedules.npz")
CONFIGS: dict[str, dict[str, Any]] = json.loads(str(GOLDEN["configs"]))
BASE = CONFIGS["sd2.1-base"]


@pytest.mark.parametrize("name", CONFIGS)
def test_cumulative_alphas_are_those_of_diffusers_bit_for_bit(name: str) -> None:
    alphas_cumprod = NoiseSchedule.from_config(CONFIGS[name]).alphas_cumprod
    assert alphas_cumprod.dtype == np.float64
    np.testing.assert_array_equal(alphas_cumprod, GOLDEN[name])


def test_zero_terminal_snr_ends_in_noise_alone_and_keeps_the_start() -> None:
    plain, rescaled = (
        NoiseSchedule.from_config({**BASE, "rescale_betas_zero_snr": flag}) for flag in (False, True)
    )
    assert rescaled.zero_snr and not plain.zero_snr
    assert rescaled.alphas_cumprod[-1] == 0
    np.testing.assert_allclose(rescaled.alphas_cumprod[0], plain.alphas_cumprod[0], rtol=1e-6)
    assert (np.diff(rescaled.alphas_cumprod) < 0).all()


def test_sigmas_rise_and_stay_finite_at_zero_terminal_snr() -> None:
    sigmas = NoiseSchedule.from_config({**BASE, "rescale_betas_zero_snr": True}).sigmas
    assert (np.diff(sigmas) > 0).all()
    assert sigmas[-1] == pytest.approx(4096)


def test_final_alpha_is_one_or_the_first() -> None:
    first, one = (NoiseSchedule.from_config({**BASE, "set_alpha_to_one": flag}) for flag in (False, True))
    assert one.final_alpha_cumprod == 1
    assert first.final_alpha_cumprod == first.alphas_cumprod[0]
    np.testing.assert_array_equal(
        first.cumulative_alphas(np.array([-19.0, 3.0])), first.alphas_cumprod[[0, 3]]
    )


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ("leading", [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]),
        ("linspace", [1000, 889, 778, 667, 556, 445, 334, 223, 112, 1]),
        ("trailing", [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100]),
    ],
)
def test_spacings_are_those_of_lin_et_al_table_2(spacing: str, expected: list[int]) -> None:
    config = {**BASE, "timestep_spacing": spacing, "steps_offset": 0}
    timesteps = sampler_table(config, "ddim", 10).timesteps
    np.testing.assert_array_equal(timesteps + 1, expected)  # the paper counts from 1


def test_trailing_spacing_has_as_many_timesteps_as_steps() -> None:
    config = {**BASE, "timestep_spacing": "trailing"}
    for steps in (61, 103, 457):  # where rounding makes NumPy's arange one too long
        timesteps = sampler_table(config, "ddim", steps).timesteps
        assert len(timesteps) == steps and timesteps[-1] >= 0


def test_karras_levels_meet_equation_5() -> None:
    levels = karras(0.03, 14.6, 5)
    np.testing.assert_allclose(levels[[0, -1]], [14.6, 0.03])
    np.testing.assert_allclose(np.diff(levels ** (1 / 7), 2), 0, atol=1e-12)


def test_exponential_levels_fall_by_equal_factors() -> None:
    levels = exponential(0.03, 14.6, 5)
    np.testing.assert_allclose(levels[[0, -1]], [14.6, 0.03])
    np.testing.assert_allclose(levels[1:] / levels[:-1], (0.03 / 14.6) ** 0.25)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("beta_schedule", "sigmoid"),
        ("beta_schedule", None),
        ("beta_start", "small"),
        ("beta_start", -1),
        ("beta_end", float("nan")),
        ("num_train_timesteps", "many"),
        ("num_train_timesteps", 0),
        ("num_train_timesteps", 10**9),
        ("num_train_timesteps", 999.5),
        ("trained_betas", "none"),
        ("trained_betas", []),
        ("trained_betas", [0.1, "a"]),
        ("steps_offset", "one"),
        ("prediction_type", "flow_prediction"),
        ("timestep_spacing", "random"),
    ],
)
def test_a_schedule_that_cannot_be_read_is_named(setting: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=setting):
        NoiseSchedule.from_config({**BASE, setting: value})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("clip_sample", True),
        ("thresholding", True),
        ("variance_type", "learned_range"),
        ("interpolation_type", "log_linear"),
        ("timestep_type", "continuous"),
        ("lambda_min_clipped", -5.1),
        ("final_sigmas_type", "median"),
        ("use_lu_lambdas", True),
        ("use_flow_sigmas", True),
    ],
)
def test_a_setting_that_the_samplers_do_not_know_is_named(setting: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=setting):
        sampler_table({**BASE, setting: value}, "dpmpp-2m", 10)


@pytest.mark.parametrize(
    ("sampler", "setting", "value"),
    [
        ("lcm", "timestep_scaling", "ten"),
        ("lcm", "original_inference_steps", "fifty"),
        ("lcm", "original_inference_steps", 3000),
        ("dpmpp-2m", "sigma_min", "small"),
        ("euler", "sigma_max", -1.0),
    ],
)
def test_a_sampler_setting_that_is_no_such_number_is_named(sampler: str, setting: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=setting):
        sampler_table({**BASE, "use_karras_sigmas": True, setting: value}, sampler, 10)


def test_a_schedule_of_the_user_overrides_the_checkpoints_curve() -> None:
    own = sampler_table({**BASE, "use_exponential_sigmas": True}, "euler", 10, "karras")
    np.testing.assert_array_equal(own.mix, sampler_table(BASE, "euler", 10, "karras").mix)


def test_too_many_steps_are_refused() -> None:
    with pytest.raises(InputError, match="1001"):
        sampler_table(BASE, "euler", 1001)
    with pytest.raises(InputError, match="too many"):
        sampler_table(BASE, "ddim", 1000)  # leading spacing from 1 would pass timestep 999


def test_beta_levels_lie_at_the_quantiles_of_the_distribution() -> None:
    p = np.array([0.0, 0.01, 0.25, 0.5, 0.9, 0.999, 1.0])
    # scipy.stats.beta.ppf(p, 0.6, 0.6)
    expected = [0, 8.61238822e-04, 1.75680379e-01, 0.5, 0.960415594, 0.999981441, 1]
    np.testing.assert_allclose(beta_quantiles(p), expected, rtol=1e-6)
    levels = beta(0.03, 14.6, 9)
    np.testing.assert_allclose(levels[[0, 4, 8]], [14.6, 7.315, 0.03])


def test_beta_is_refused_for_zero_terminal_snr_where_it_draws_noise_alone() -> None:
    with pytest.raises(InputError, match=r"'beta'.*zero terminal SNR") as caught:
        sampler_table({**BASE, "rescale_betas_zero_snr": True}, "euler", 20, "beta")
    assert caught.value.field == "schedule"
    # This sampler knows no zero terminal SNR.
    assert len(sampler_table({**BASE, "rescale_betas_zero_snr": True}, "heun", 20, "beta").steps) == 39


def test_simple_takes_every_so_many_timesteps_from_the_last() -> None:
    assert sampler_table(BASE, "euler", 4, "simple").timesteps.tolist() == [999, 749, 499, 249]
    assert sampler_table(BASE, "dpmpp-2m", 3, "simple").timesteps.tolist() == [999, 666, 333]


def test_align_your_steps_visits_the_published_timesteps_at_ten_steps() -> None:
    # diffusers' AysSchedules["StableDiffusionTimesteps"]
    published = [999, 850, 736, 645, 545, 455, 343, 233, 124, 24]
    timesteps = sampler_table(BASE, "euler", 10, "align-your-steps").timesteps
    np.testing.assert_allclose(timesteps, published, atol=1)


def test_align_your_steps_is_refused_for_a_model_with_less_noise() -> None:
    with pytest.raises(InputError, match=r"align-your-steps.*14\.6") as caught:
        sampler_table({**BASE, "beta_end": 0.002}, "euler", 10, "align-your-steps")
    assert caught.value.field == "schedule"
