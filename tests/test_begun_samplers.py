"""Sampler tables that begin at a later step: what diffusers' schedulers do in image to image."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from table_runs import run_from_image

from sdgen.diffusion.choices import steps_of_strength
from sdgen.diffusion.sampler_names import SAMPLERS
from sdgen.diffusion.samplers import has_schedule, sampler_table
from sdgen.diffusion.table import SamplerTable
from sdgen.errors import InputError

FOLDER = Path(__file__).parent / "golden"
GOLDEN = np.load(FOLDER / "samplers.npz")
BEGUN = np.load(FOLDER / "begun_samplers.npz")
CONFIGS: dict[str, dict[str, Any]] = json.loads(str(GOLDEN["configs"]))
PLAIN = {**CONFIGS["sd2.1-base"], "timestep_spacing": "trailing", "set_alpha_to_one": True}
WITHOUT_MEMORY = ("ddim", "ddpm", "euler", "euler-a", "lcm", "tcd")
PAIRS = ("heun", "dpm2", "dpm2-a", "dpmpp-2s-a", "dpmpp-sde")
STEPS = (7, 50)
FIRSTS = [
    (steps, steps - steps_of_strength(steps, strength))
    for steps in STEPS
    for strength in (0.29, 0.58, 0.75, 1.0)
]


def begun_runs() -> dict[tuple[str, str, str | None], list[dict[str, Any]]]:
    """The stored runs by config, sampler and schedule, each with its slice of the stored arrays."""
    runs: dict[tuple[str, str, str | None], list[dict[str, Any]]] = {}
    stored = {name: BEGUN[name] for name in ("timesteps", "draws", "latents")}
    row = 0
    for index, case in enumerate(json.loads(str(BEGUN["cases"]))):
        steps = case["steps"] - case["first"]
        end = row + (2 * steps - 1 if case["sampler"] in PAIRS else steps)
        run = {
            "case": case,
            "timesteps": stored["timesteps"][row:end],
            "draws": stored["draws"][row:end],
            "latents": stored["latents"][row + index : end + index + 1],
        }
        runs.setdefault((case["config"], case["sampler"], case["schedule"]), []).append(run)
        row = end
    assert row == len(stored["timesteps"])
    return runs


RUNS = begun_runs()


def rows_alike(one: SamplerTable, other: SamplerTable, row: int) -> None:
    """Every array of ``one`` is that of ``other`` from a row on; the numbers of steps aside."""
    for field in dataclasses.fields(one):
        values = getattr(one, field.name)
        if isinstance(values, np.ndarray) and field.name != "steps":
            np.testing.assert_array_equal(values, getattr(other, field.name)[row:], err_msg=field.name)


@pytest.mark.parametrize(("config", "sampler", "schedule"), RUNS)
def test_a_table_begun_later_does_what_diffusers_does_in_image_to_image(
    config: str, sampler: str, schedule: str | None
) -> None:
    image, noise = GOLDEN["outputs"][-1], GOLDEN["noise"]
    for run in RUNS[config, sampler, schedule]:
        case = run["case"]
        first = case["steps"] - steps_of_strength(case["steps"], case["strength"])
        assert first == case["first"]
        table = sampler_table(CONFIGS[config], sampler, case["steps"], schedule, case["eta"], first)
        latents = run_from_image(table, lambda row, x: GOLDEN["outputs"][row], noise, image, noise[-1])
        np.testing.assert_allclose(table.timesteps, run["timesteps"], rtol=1e-6, atol=1e-6, err_msg=str(case))
        np.testing.assert_array_equal(table.draws, run["draws"], err_msg=str(case))
        np.testing.assert_allclose(latents, run["latents"], rtol=1e-6, atol=1e-6, err_msg=str(case))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_first_step_may_be_any_and_a_network_that_knows_the_image_leads_to_it(sampler: str) -> None:
    image = 0.8
    for steps in (1, 2, 5, 10):  # 'plms' walks off its levels where 1000 is no multiple
        for first in range(steps):
            table = sampler_table(PLAIN, sampler, steps, first=first)

            def network(row: int, x: float, table: SamplerTable = table) -> float:
                return float((x - table.alpha_in[row] * image) / table.sigma_in[row])

            final = run_from_image(table, network, GOLDEN["noise"], image, 1.3)[-1]
            # Like diffusers, DEIS and TCD end at timestep 0, where noise of 0.03 is left; LCM keeps a trace.
            tolerance = {"deis": 0.05, "tcd": 0.05, "lcm": 1e-4}.get(sampler, 1e-6)
            assert final == pytest.approx(image, abs=tolerance), (steps, first)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_steps_of_a_table_begun_later_count_from_zero(sampler: str) -> None:
    for steps, first in FIRSTS:
        table = sampler_table(PLAIN, sampler, steps, first=first)
        assert np.unique(table.steps).tolist() == list(range(steps - first))
        assert table.steps_done(0) == 0 and table.steps_done(len(table.steps)) == steps - first
        for field in dataclasses.fields(table):
            values = getattr(table, field.name)
            assert not isinstance(values, np.ndarray) or len(values) == len(table.steps)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_table_begun_later_reads_no_memory_of_the_steps_before(sampler: str) -> None:
    for steps, first in FIRSTS:
        table = sampler_table(PLAIN, sampler, steps, first=first)
        clean, dirty = (
            run_from_image(table, lambda row, x: np.sin(row), GOLDEN["noise"], 0.3, 0.7, memory)
            for memory in (0.0, 1e6)
        )
        np.testing.assert_allclose(clean, dirty)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_table_begun_at_step_0_is_the_table(sampler: str) -> None:
    whole, begun = sampler_table(PLAIN, sampler, 7), sampler_table(PLAIN, sampler, 7, first=0)
    rows_alike(begun, whole, 0)
    np.testing.assert_array_equal(begun.steps, whole.steps)


@pytest.mark.parametrize("sampler", [*WITHOUT_MEMORY, *PAIRS])
def test_a_sampler_that_remembers_no_step_is_simply_cut(sampler: str) -> None:
    eta = 0.3 if sampler in ("ddim", "tcd") else 0.0
    for steps, first in FIRSTS:
        whole = sampler_table(PLAIN, sampler, steps, eta=eta)
        row = first * (2 if sampler in PAIRS else 1)
        rows_alike(sampler_table(PLAIN, sampler, steps, eta=eta, first=first), whole, row)


def test_plms_begins_with_two_rows_for_its_first_step_wherever_that_is() -> None:
    whole = sampler_table(PLAIN, "plms", 10).timesteps[1:]
    assert sampler_table(PLAIN, "plms", 10, first=9).timesteps.tolist() == [whole[9]]
    begun = sampler_table(PLAIN, "plms", 10, first=6)
    assert begun.timesteps.tolist() == [*whole[6:8], *whole[7:]]
    assert begun.steps.tolist() == [0, 0, 1, 2, 3]


def test_dpmpp_2s_begun_within_a_pair_keeps_the_pairs_of_the_whole() -> None:
    whole, begun = sampler_table(PLAIN, "dpmpp-2s", 10), sampler_table(PLAIN, "dpmpp-2s", 10, first=5)
    np.testing.assert_array_equal(begun.mix[1:], whole.mix[6:])
    assert not begun.mix[0, 0, 1:4].any()


def test_few_steps_left_of_many_end_as_many_do() -> None:
    """The lower order at the end of fewer than 15 steps goes by all steps, not by those that run."""
    config = {**PLAIN, "final_sigmas_type": "sigma_min"}
    whole, begun = sampler_table(config, "dpmpp-2m", 50), sampler_table(config, "dpmpp-2m", 50, first=40)
    np.testing.assert_array_equal(begun.mix[1:], whole.mix[41:])
    assert begun.mix[-1, 0, 1] != 0
    assert sampler_table(config, "dpmpp-2m", 10).mix[-1, 0, 1] == 0


@pytest.mark.parametrize(
    ("sampler", "schedule"),
    [pair for pair in itertools.product(SAMPLERS, ("karras", "exponential", "beta")) if has_schedule(*pair)],
)
def test_tables_are_finite_where_a_curve_ends_at_the_level_that_the_steps_end_at(
    sampler: str, schedule: str
) -> None:
    for first in (0, 3, 9):
        table = sampler_table(CONFIGS["sigma-min"], sampler, 10, schedule, first=first)
        for values in (table.p, table.q, table.mix, table.noise):
            assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("steps", "strength", "run"),
    [
        (50, 0.6, 30),
        (50, 0.58, 28),
        (100, 0.29, 28),
        (100, 0.57, 56),
        (50, 1.0, 50),
        (50, 0.0, 0),
        (7, 0.1, 0),
    ],
)
def test_steps_times_strength_is_cut_off_as_diffusers_does(steps: int, strength: float, run: int) -> None:
    assert steps_of_strength(steps, strength) == run


@pytest.mark.parametrize("first", [-1, 7, 8])
def test_a_first_step_that_leaves_none_to_run_is_refused(first: int) -> None:
    with pytest.raises(InputError, match="more strength, or more steps") as caught:
        sampler_table(PLAIN, "euler", 7, first=first)
    assert caught.value.field == "strength"
