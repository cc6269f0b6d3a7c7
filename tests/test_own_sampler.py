"""A checkpoint's own sampler: mapped where sdgen has it, warned of where not, flow matching refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sdgen.errors import CheckpointError
from sdgen.pipeline.checkpoint_sampler import own_sampler
from sdgen.pipeline.sampler_tables import request_table
from sdgen.request import Request

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
MULTISTEP = "DPMSolverMultistepScheduler"


@pytest.mark.parametrize(
    ("config", "sampler"),
    [
        (
            {"_class_name": "DEISMultistepScheduler", "algorithm_type": "deis", "solver_type": "logrho"},
            "deis",
        ),
        ({"_class_name": "DPMSolverSinglestepScheduler"}, "dpmpp-2s"),
        ({"_class_name": "TCDScheduler"}, "tcd"),
        ({"_class_name": "KDPM2DiscreteScheduler"}, "dpm2"),
        ({"_class_name": "KDPM2AncestralDiscreteScheduler"}, "dpm2-a"),
        ({"_class_name": "DPMSolverSDEScheduler"}, "dpmpp-sde"),
        ({"_class_name": MULTISTEP}, "dpmpp-2m"),
        ({"_class_name": MULTISTEP, "algorithm_type": "sde-dpmsolver++", "solver_order": 2}, "dpmpp-2m-sde"),
        ({"_class_name": "UniPCMultistepScheduler", "solver_type": "bh2", "predict_x0": True}, "unipc"),
        ({"_class_name": "PNDMScheduler", "skip_prk_steps": True}, "plms"),
        ({"_class_name": "EulerDiscreteScheduler", "use_beta_sigmas": True}, "euler"),
        ({}, "ddim"),
    ],
)
def test_a_scheduler_that_sdgen_has_is_drawn_with_and_needs_no_warning(
    config: dict[str, Any], sampler: str
) -> None:
    own = own_sampler({**NOISE, **config})
    assert (own.sampler, own.warnings) == (sampler, ())


@pytest.mark.parametrize(
    ("config", "sampler", "words"),
    [
        ({"_class_name": "LMSDiscreteScheduler"}, "ddim", "LMSDiscreteScheduler"),
        ({"_class_name": MULTISTEP, "solver_order": 3}, "dpmpp-2m", "'solver_order' to 3"),
        ({"_class_name": MULTISTEP, "solver_order": 1}, "dpmpp-2m", "'solver_order' to 1"),
        ({"_class_name": MULTISTEP, "algorithm_type": "dpmsolver"}, "dpmpp-2m", "'algorithm_type'"),
        (
            {"_class_name": "DPMSolverSinglestepScheduler", "algorithm_type": "sde-dpmsolver++"},
            "dpmpp-2s",
            "'algorithm_type' to 'sde-dpmsolver",
        ),
        (
            {"_class_name": MULTISTEP, "algorithm_type": "sde-dpmsolver++", "solver_type": "heun"},
            "dpmpp-2m-sde",
            "'solver_type' to 'heun'",
        ),
        ({"_class_name": "UniPCMultistepScheduler", "solver_order": 3}, "unipc", "'solver_order'"),
        ({"_class_name": "PNDMScheduler", "skip_prk_steps": False}, "plms", "'skip_prk_steps'"),
        ({"_class_name": MULTISTEP, "use_lu_lambdas": True}, "dpmpp-2m", "'use_lu_lambdas'"),
        ({"_class_name": MULTISTEP, "lambda_min_clipped": -5.1}, "dpmpp-2m", "'lambda_min_clipped'"),
        ({"_class_name": "DDPMScheduler", "variance_type": "fixed_large"}, "ddpm", "'variance_type'"),
        ({"_class_name": "EulerDiscreteScheduler", "interpolation_type": "log_linear"}, "euler", "'interpol"),
    ],
)
def test_what_sdgen_lacks_of_a_scheduler_is_a_warning_and_is_drawn_without(
    config: dict[str, Any], sampler: str, words: str
) -> None:
    own = own_sampler({**NOISE, **config})
    assert own.sampler == sampler
    (warning,) = own.warnings
    assert words in warning and "draws with" in warning
    request = Request(prompt="x", sampler=own.sampler, steps=4)
    assert len(request_table({**NOISE, **config}, request).steps) >= 4


@pytest.mark.parametrize("name", ["karras", "exponential", "beta"])
def test_a_curve_of_the_checkpoint_is_a_schedule(name: str) -> None:
    config = {**NOISE, "_class_name": MULTISTEP, f"use_{name}_sigmas": True}
    assert own_sampler(config).schedule == name
    own, named, plain = (
        request_table(
            config, Request(prompt="x", sampler="dpmpp-2m", steps=6, schedule=schedule)
        ).mix.tolist()
        for schedule in (None, name, "normal")
    )
    assert own == named != plain


def test_settings_that_change_nothing_are_no_warning() -> None:
    neutral = {"use_lu_lambdas": False, "lambda_min_clipped": -math.inf, "variance_type": None}
    assert own_sampler({**NOISE, "_class_name": MULTISTEP, **neutral}).warnings == ()


@pytest.mark.parametrize(
    "config",
    [
        {"_class_name": "FlowMatchEulerDiscreteScheduler"},
        {"_class_name": "FlowMatchHeunDiscreteScheduler"},
        {"_class_name": "EulerDiscreteScheduler", "prediction_type": "flow_prediction"},
        {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True},
    ],
)
def test_flow_matching_is_refused_by_the_name_of_its_class(config: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=config["_class_name"]):
        own_sampler({**NOISE, **config})


def test_a_class_name_from_a_file_is_shown_without_what_a_terminal_obeys() -> None:
    (warning,) = own_sampler({**NOISE, "_class_name": "\x1b[2J" * 100}).warnings
    assert "\x1b" not in warning and len(warning) < 700


def test_a_setting_of_a_strange_type_is_a_warning() -> None:
    own = own_sampler({**NOISE, "_class_name": MULTISTEP, "solver_order": [2], "use_lu_lambdas": {"a": 1}})
    assert len(own.warnings) == 2
