"""Sampler tables: row by row what diffusers' schedulers do, and what the theory says they must."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from table_runs import run_table

from sdgen.diffusion.sampler_names import SAMPLERS, SCHEDULES
from sdgen.diffusion.samplers import sampler_table
from sdgen.diffusion.schedule import NoiseSchedule
from sdgen.errors import CheckpointError, InputError

GOLDEN = np.load(Path(__file__).parent / "golden/samplers.npz")
K_GOLDEN = np.load(Path(__file__).parent / "golden/k_samplers.npz")
CONFIGS: dict[str, dict[str, Any]] = json.loads(str(GOLDEN["configs"]))
PLAIN = {**CONFIGS["sd2.1-base"], "timestep_spacing": "trailing", "set_alpha_to_one": True}
LEADING = {**PLAIN, "timestep_spacing": "leading"}
ODE = ("ddim", "euler", "heun", "dpmpp-2m", "plms", "unipc", "deis", "dpm2", "dpmpp-2s")
STOCHASTIC = ("ddpm", "euler-a", "dpmpp-2m-sde", "dpmpp-3m-sde", "lcm")
TWO_ROWS = ("heun", "dpm2", "dpm2-a", "dpmpp-2s-a", "dpmpp-sde")


def golden_runs() -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The stored runs by config and sampler, each with its slice of the stored arrays."""
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for golden in (GOLDEN, K_GOLDEN):
        row = 0
        stored = {name: golden[name] for name in ("timesteps", "draws", "latents")}
        for index, case in enumerate(json.loads(str(golden["cases"]))):
            rows = {"plms": case["steps"] + (case["steps"] > 1)}
            rows |= dict.fromkeys(TWO_ROWS, 2 * case["steps"] - 1)
            end = row + rows.get(case["sampler"], case["steps"])
            run = {
                "case": case,
                "timesteps": stored["timesteps"][row:end],
                "draws": stored["draws"][row:end],
                "latents": stored["latents"][row + index : end + index + 1],
            }
            runs.setdefault((case["config"], case["sampler"]), []).append(run)
            row = end
    return runs


RUNS = golden_runs()


@pytest.mark.parametrize(("config", "sampler"), RUNS)
def test_table_does_what_diffusers_or_k_diffusion_does_row_by_row(config: str, sampler: str) -> None:
    for run in RUNS[config, sampler]:
        case = run["case"]
        table = sampler_table(CONFIGS[config], sampler, case["steps"], case["schedule"], case["eta"])
        latents = run_table(
            table, lambda row, x: GOLDEN["outputs"][row], GOLDEN["noise"], GOLDEN["noise"][-1]
        )
        np.testing.assert_allclose(table.timesteps, run["timesteps"], rtol=1e-6, atol=1e-6, err_msg=str(case))
        np.testing.assert_array_equal(table.draws, run["draws"], err_msg=str(case))
        np.testing.assert_allclose(latents, run["latents"], rtol=1e-6, atol=1e-6, err_msg=str(case))


@pytest.mark.parametrize("name", ["sd2.1-base", "mini", "cosine"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_tables_are_finite_and_fall_for_every_schedule_and_step_count(name: str, sampler: str) -> None:
    drawn = 0
    for schedule, steps in itertools.product(
        [None, *SCHEDULES], [1, 2, 3, 5, 13, 50, 61, 333, 500, 999, 1000]
    ):
        try:
            table = sampler_table(CONFIGS[name], sampler, steps, schedule)
        except InputError:
            continue
        drawn += 1
        rows = len(table.timesteps)
        assert table.mix.shape == (rows, 4, 5)
        for values in (table.p, table.q, table.mix, table.noise, table.timesteps):
            assert len(values) == rows and np.isfinite(values).all() and values.dtype == np.float64
        # The rows between may have fractions of timesteps where those of the steps are rounded.
        assert (np.diff(table.timesteps) <= (0.501 if sampler in TWO_ROWS else 0)).all()
        assert table.timesteps[-1] >= 0
        assert (table.noise >= 0).all() and (table.draws | (table.noise == 0)).all()
        assert np.unique(table.steps).tolist() == list(range(steps)) and (np.diff(table.steps) >= 0).all()
        assert 0 < table.init_scale <= 1
        # The cosine schedule alone starts at a noise-to-signal ratio of 20,000; the last steps of 'beta' are
        # long, and third order extrapolates over them.
        far = name == "cosine" or (sampler, schedule) == ("dpmpp-3m-sde", "beta")
        assert np.abs(table.mix).max() < 20 or far
    assert drawn >= 6


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_memory_is_read_only_after_it_was_written(sampler: str) -> None:
    table = sampler_table(CONFIGS["sd2.1-base"], sampler, 12)
    clean, dirty = (
        run_table(table, lambda row, x: np.sin(row), GOLDEN["noise"], 0.7, memory) for memory in (0.0, 1e6)
    )
    np.testing.assert_allclose(clean, dirty)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_network_that_knows_the_only_image_leads_to_it(sampler: str, prediction: str) -> None:
    config, image = {**PLAIN, "prediction_type": prediction}, 0.8
    table = sampler_table(config, sampler, 10)
    a = NoiseSchedule.from_config(config).cumulative_alphas(table.timesteps)
    alpha, sigma = np.sqrt(a), np.sqrt(1 - a)

    def network(row: int, x: float) -> float:
        eps = (x - alpha[row] * image) / sigma[row]
        return {"epsilon": eps, "v_prediction": alpha[row] * eps - sigma[row] * image, "sample": image}[
            prediction
        ]

    tolerance = 1e-6
    if sampler == "lcm":
        tolerance = 1e-4  # its consistency function keeps a trace of x even at the lowest timestep
    elif sampler in ("deis", "tcd"):
        tolerance = 0.05  # like diffusers, they end at timestep 0, where noise of 0.03 is left
    elif (sampler, prediction) == ("plms", "v_prediction"):
        tolerance = 0.05  # like diffusers, it combines outputs v of different noise levels
    final = run_table(table, network, GOLDEN["noise"], 1.3)[-1]
    assert final == pytest.approx(image, abs=tolerance)


def gaussian_error(sampler: str, schedule: str | None, steps: int) -> float:
    """How far a sampler ends from the exact solution where images are normal with standard deviation 0.5."""
    table = sampler_table(LEADING, sampler, steps, schedule)
    noise_schedule = NoiseSchedule.from_config(LEADING)
    sigma = np.exp(
        np.interp(table.timesteps, np.arange(1000), np.log(noise_schedule.sigmas.astype(np.float64)))
    )
    a = 1 / (1 + sigma**2)
    variance = a * 0.5**2 + 1 - a

    def network(row: int, x: float) -> float:
        return float(np.sqrt(1 - a[row]) / variance[row] * x)

    trajectory = run_table(table, network, GOLDEN["noise"], 1.0)
    return float(abs(trajectory[-1] - trajectory[0] * 0.5 / np.sqrt(variance[0])))


@pytest.mark.parametrize(
    ("sampler", "schedule"),
    [
        ("heun", None),
        ("plms", None),
        ("heun", "karras"),
        ("dpmpp-2m", "karras"),
        ("dpm2", "karras"),
        ("deis", "karras"),
        ("unipc", "exponential"),
    ],
)
def test_higher_order_samplers_come_closer_than_euler(sampler: str, schedule: str | None) -> None:
    assert gaussian_error(sampler, schedule, 20) < gaussian_error("euler", schedule, 20) / 5


@pytest.mark.parametrize("sampler", ODE)
def test_ode_samplers_converge(sampler: str) -> None:
    assert gaussian_error(sampler, None, 250) < min(gaussian_error(sampler, None, 10) / 3, 0.01)


def test_ddim_is_euler_where_both_see_the_same_levels() -> None:
    ddim, euler = (sampler_table(PLAIN, sampler, 20) for sampler in ("ddim", "euler"))
    np.testing.assert_allclose(ddim.mix, euler.mix, atol=1e-6)
    np.testing.assert_array_equal(ddim.timesteps, euler.timesteps)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_ddim_at_eta_1_is_ddpm(prediction: str) -> None:
    config = {**PLAIN, "prediction_type": prediction}
    ddim, ddpm = sampler_table(config, "ddim", 20, eta=1.0), sampler_table(config, "ddpm", 20)
    np.testing.assert_allclose(ddim.mix, ddpm.mix, atol=1e-9)
    np.testing.assert_allclose(ddim.noise, ddpm.noise, atol=1e-9)  # DDPM ends with 1e-10


@pytest.mark.parametrize("sampler", STOCHASTIC)
def test_stochastic_samplers_draw_and_the_last_image_is_clean(sampler: str) -> None:
    table = sampler_table(CONFIGS["mini"], sampler, 8)
    assert table.draws[:-1].all() and (table.noise[:-1] > 0).all()
    assert table.noise[-1] < 1e-9


@pytest.mark.parametrize("sampler", ODE)
def test_deterministic_samplers_draw_nothing(sampler: str) -> None:
    table = sampler_table(CONFIGS["mini"], sampler, 8)
    assert not table.draws.any() and not table.noise.any()


def test_heun_and_plms_say_which_step_a_row_belongs_to() -> None:
    assert sampler_table(PLAIN, "heun", 4).steps.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert sampler_table(PLAIN, "plms", 4).steps.tolist() == [0, 0, 1, 2, 3]


def test_a_step_is_done_after_its_last_row() -> None:
    heun, ddim = (sampler_table(PLAIN, sampler, 3) for sampler in ("heun", "ddim"))
    assert [heun.steps_done(rows) for rows in range(6)] == [0, 0, 1, 1, 2, 3]
    assert [ddim.steps_done(rows) for rows in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("sampler", "schedule"),
    [("ddim", "karras"), ("ddpm", "exponential"), ("plms", "karras"), ("lcm", "sgm-uniform")],
)
def test_a_schedule_that_a_sampler_lacks_is_refused_by_name(sampler: str, schedule: str) -> None:
    with pytest.raises(InputError, match=f"{sampler}.*{schedule}") as caught:
        sampler_table(PLAIN, sampler, 10, schedule)
    assert caught.value.field == "schedule"


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "lcm"])
def test_noise_prediction_from_noise_alone_is_refused(sampler: str) -> None:
    with pytest.raises(InputError, match="zero terminal SNR"):
        sampler_table(CONFIGS["zero-snr-epsilon"], sampler, 10)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"sampler": "magic", "steps": 10}, "sampler"),
        ({"sampler": "ddim", "steps": 0}, "steps"),
        ({"sampler": "lcm", "steps": 51}, "steps"),
        ({"sampler": "ddim", "steps": 10, "eta": 1.5}, "eta"),
        ({"sampler": "euler", "steps": 10, "eta": 0.5}, "eta"),
        ({"sampler": "euler", "steps": 10, "schedule": "linear"}, "schedule"),
    ],
)
def test_options_out_of_range_name_their_field(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        sampler_table(PLAIN, **options)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("sampler", "rows"),
    [("dpm2-a", [0, 1, 0, 1, 0]), ("dpmpp-2s-a", [0, 1, 0, 1, 0]), ("dpmpp-sde", [1, 1, 1, 1, 0])],
)
def test_samplers_of_two_evaluations_draw_where_noise_is_added(sampler: str, rows: list[int]) -> None:
    table = sampler_table(CONFIGS["mini"], sampler, 3)
    assert table.draws.tolist() == [bool(row) for row in rows]
    assert ((table.noise > 0) == table.draws).all()


@pytest.mark.parametrize("sampler", ["dpmpp-sde", "dpmpp-3m-sde", "dpmpp-2s-a", "dpm2-a", "euler-a"])
def test_noise_keeps_the_variance_that_the_levels_say(sampler: str) -> None:
    """Of an image that is 0 throughout, the latents before a row are noise alone, of variance sigma²."""
    table = sampler_table(PLAIN, sampler, 12)
    a = NoiseSchedule.from_config(PLAIN).alphas_cumprod
    sigma = np.sqrt(1 - np.interp(table.timesteps, np.arange(1000), a))
    state, rng = np.zeros((4, 20_000)), np.random.default_rng(5)
    state[0] = table.init_scale * rng.standard_normal(20_000)
    for row in range(len(table.timesteps)):
        assert state[0].std() == pytest.approx(sigma[row], rel=0.05)
        eps = state[0] / sigma[row]
        h = table.p[row] * state[0] + table.q[row] * eps
        state = table.mix[row] @ np.concatenate([state, h[None]])
        state[0] += table.noise[row] * rng.standard_normal(20_000)


def test_tcd_without_eta_draws_nothing_and_with_it_at_each_step() -> None:
    assert not sampler_table(PLAIN, "tcd", 4).draws.any()
    assert sampler_table(PLAIN, "tcd", 4, eta=0.3).draws.tolist() == [True, True, True, False]


def test_deis_takes_the_order_of_the_config() -> None:
    first, second, third = (sampler_table({**PLAIN, "solver_order": n}, "deis", 20).mix for n in (1, 2, 3))
    for mix, memories in ((first, 0), (second, 1), (third, 2)):
        assert (mix[10, 0, 1:4] != 0).sum() == memories
    with pytest.raises(CheckpointError, match="solver_order"):
        sampler_table({**PLAIN, "solver_order": 4}, "deis", 20)
