"""One table of sampler and schedule names: what each tool calls what sdgen has."""

from __future__ import annotations

import time

import pytest

from sdgen.diffusion.sampler_names import (
    SAMPLERS,
    SCHEDULES,
    a1111_names,
    automatic_schedule,
    is_automatic,
    read_sampler,
    read_schedule,
)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("schedule", [None, *SCHEDULES])
def test_what_a1111_is_told_is_read_back(sampler: str, schedule: str | None) -> None:
    title, schedule_type = a1111_names(sampler, schedule)
    assert read_sampler(title) == (sampler, None)
    assert read_sampler(sampler) == (sampler, None)
    if schedule is not None:
        assert read_schedule(schedule_type) == read_schedule(schedule) == schedule
        assert read_sampler(f"{title} {schedule_type}") == (sampler, schedule)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a1111_is_told_automatic_only_where_that_is_the_models_own_schedule(sampler: str) -> None:
    _, schedule_type = a1111_names(sampler, None)
    assert schedule_type == ("Normal" if automatic_schedule(sampler) else "Automatic")


def test_a1111_draws_dpmpp_2m_with_karras_where_the_schedule_is_automatic() -> None:
    assert automatic_schedule("dpmpp-2m") == "karras"
    assert automatic_schedule("euler") is None
    assert a1111_names("dpmpp-2m", None) == ("DPM++ 2M", "Normal")


@pytest.mark.parametrize(
    ("text", "sampler", "schedule"),
    [
        # AUTOMATIC1111, its older titles and its API
        ("Euler a", "euler-a", None),
        ("DPM++ 2M Karras", "dpmpp-2m", "karras"),
        ("DPM++ 2M SDE Exponential", "dpmpp-2m-sde", "exponential"),
        ("DPM++ 2M SGM Uniform", "dpmpp-2m", "sgm-uniform"),
        ("k_euler_a", "euler-a", None),
        ("k_dpmpp_2m_ka", "dpmpp-2m", "karras"),
        # k-diffusion, ComfyUI, NovelAI, Stability
        ("sample_dpmpp_2m_sde", "dpmpp-2m-sde", None),
        ("euler_ancestral", "euler-a", None),
        ("dpmpp_2m_sde_gpu", "dpmpp-2m-sde", None),
        ("uni_pc", "unipc", None),
        ("uni_pc_bh2", "unipc", None),
        ("k_euler_ancestral", "euler-a", None),
        ("ddim_v3", "ddim", None),
        ("K_DPMPP_2M", "dpmpp-2m", None),
        # InvokeAI, stable-diffusion.cpp, diffusers
        ("dpmpp_2m_k", "dpmpp-2m", "karras"),
        ("euler_k", "euler", "karras"),
        ("pndm", "plms", None),
        ("dpm++2m karras", "dpmpp-2m", "karras"),
        ("euler discrete", "euler", "normal"),
        ("ddim_trailing", "ddim", "sgm-uniform"),
        ("EulerAncestralDiscreteScheduler", "euler-a", None),
        ("DPMSolverMultistepScheduler", "dpmpp-2m", None),
        ("DEISMultistepScheduler", "deis", None),
        ("DPMSolverSinglestepScheduler", "dpmpp-2s", None),
        ("  dPm++ 2m  ", "dpmpp-2m", None),
        # of every tool, the later samplers
        ("DPM2 a Karras", "dpm2-a", "karras"),
        ("k_dpm_2_a_ka", "dpm2-a", "karras"),
        ("dpm_2_ancestral", "dpm2-a", None),
        ("kdpm_2_a_k", "dpm2-a", "karras"),
        ("kdpm_2", "dpm2", None),
        ("dpm2", "dpm2", None),
        ("DPM++ 2S a Karras", "dpmpp-2s-a", "karras"),
        ("k_dpmpp_2s_ancestral", "dpmpp-2s-a", None),
        ("dpm++2s_a", "dpmpp-2s-a", None),
        ("dpmpp_2s_k", "dpmpp-2s", "karras"),
        ("DPM++ SDE Karras", "dpmpp-sde", "karras"),
        ("dpmpp_sde_gpu", "dpmpp-sde", None),
        ("DPM++ 3M SDE Exponential", "dpmpp-3m-sde", "exponential"),
        ("dpmpp_3m_sde_gpu", "dpmpp-3m-sde", None),
        ("deis_k", "deis", "karras"),
        ("tcd", "tcd", None),
        ("Euler Align Your Steps", "euler", "align-your-steps"),
        ("DPM++ 2M Beta", "dpmpp-2m", "beta"),
        ("DPM++ 2M Automatic", "dpmpp-2m", None),
    ],
)
def test_a_name_of_another_tool_is_read(text: str, sampler: str, schedule: str | None) -> None:
    assert read_sampler(text) == (sampler, schedule)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dpmpp_3m",
        "dpmpp_2m_alt",
        "k",
        "_k",
        "LMS",
        "LMS Karras",
        "DPM adaptive",
        "DPM++ 2M SDE Heun",
        "Heun++",
        "dpm++2mv2",
        "Karras",
    ],
)
def test_a_method_that_sdgen_lacks_is_not_taken_for_another(text: str) -> None:
    assert read_sampler(text) is None


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("Karras", "karras"),
        ("SGMUniform", "sgm-uniform"),
        ("sgm_uniform", "sgm-uniform"),
        ("Uniform", "normal"),
        ("discrete", "normal"),
        ("native", "normal"),
        ("polyexponential", "exponential"),
        ("ays", "align-your-steps"),
        ("align_your_steps", "align-your-steps"),
        ("simple", "simple"),
        ("Beta", "beta"),
        ("kl_optimal", None),
        ("ddim_uniform", None),
        ("AYS 32", None),
        ("Automatic", None),
    ],
)
def test_a_schedule_of_another_tool_is_read(text: str, schedule: str | None) -> None:
    assert read_schedule(text) == schedule


def test_automatic_is_no_schedule() -> None:
    assert is_automatic("Automatic") and is_automatic(" automatic ") and not is_automatic("Karras")


def test_a_long_name_takes_no_long_time() -> None:
    began = time.process_time()
    for text in ("k" * 1_000_000, " " * 1_000_000, "_" * 1_000_000 + "k"):
        assert read_sampler(text) is None and read_schedule(text) is None and not is_automatic(text)
    assert time.process_time() - began < 1
