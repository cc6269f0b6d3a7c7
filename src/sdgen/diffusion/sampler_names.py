"""Samplers and noise schedules by name: sdgen's, and what other tools call the same thing.

One table, read by ``--sampler`` and ``--schedule``, prompts files, the records inside images and the
scheduler_config.json of checkpoints. A name of another tool stands here only where it means the same method;
what sdgen has no equal of (LMS, DPM adaptive, Restart, Heun++) is not read as something near it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

_NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Names:
    """What a sampler or a schedule is called.

    Attributes:
        line: a line about it.
        a1111: the title that AUTOMATIC1111 and Forge have for it.
        others: other tools' names: k-diffusion, ComfyUI, InvokeAI, NovelAI, stable-diffusion.cpp, Easy
            Diffusion. Case, punctuation and a leading ``k_`` or ``sample_`` do not count; "++" is "pp".
        automatic: of a sampler, the schedule that AUTOMATIC1111 (from 1.9 on) draws it with where the
            schedule type is "Automatic"; None where it draws with its plain one.
        schedulers: of a sampler, diffusers' classes, each with the settings under which it is this sampler.
    """

    line: str
    a1111: str
    others: tuple[str, ...] = ()
    automatic: str | None = None
    schedulers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Named(NamedTuple):
    """A sampler, and the schedule where its name says one."""

    sampler: str
    schedule: str | None


_MULTISTEP = {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint"}

_SAMPLERS: Mapping[str, Names] = {
    "ddim": Names(
        "DDIM (Song et al. 2021); --eta 0 is deterministic, --eta 1 is DDPM-like",
        "DDIM",
        ("ddim_v3",),
        schedulers={"DDIMScheduler": {}},
    ),
    "ddpm": Names("DDPM ancestral sampling (Ho et al. 2020)", "DDPM", schedulers={"DDPMScheduler": {}}),
    "euler": Names(
        "Euler's method on the probability-flow ODE (Karras et al. 2022, algorithm 1, first order)",
        "Euler",
        schedulers={"EulerDiscreteScheduler": {}},
    ),
    "euler-a": Names(
        "Euler ancestral: Euler steps with fresh noise after each",
        "Euler a",
        ("euler_ancestral",),
        schedulers={"EulerAncestralDiscreteScheduler": {}},
    ),
    "heun": Names(
        "Heun's second-order method: two evaluations a step (Karras et al. 2022, algorithm 1)",
        "Heun",
        schedulers={"HeunDiscreteScheduler": {}},
    ),
    "dpmpp-2m": Names(
        "DPM-Solver++ (2M): second order, one evaluation a step (Lu et al. 2022)",
        "DPM++ 2M",
        ("dpmsolver++",),
        automatic="karras",
        schedulers={"DPMSolverMultistepScheduler": _MULTISTEP},
    ),
    "dpmpp-2m-sde": Names(
        "DPM-Solver++ (2M) on the reverse SDE: fresh noise at each step",
        "DPM++ 2M SDE",
        ("dpmpp_2m_sde_gpu",),
        automatic="exponential",
        schedulers={"DPMSolverMultistepScheduler": _MULTISTEP | {"algorithm_type": "sde-dpmsolver++"}},
    ),
    "plms": Names(
        "Pseudo linear multistep, fourth order (Liu et al. 2022)",
        "PLMS",
        ("pndm",),
        schedulers={"PNDMScheduler": {"skip_prk_steps": True}},
    ),
    "unipc": Names(
        "UniPC: predictor and corrector, second order (Zhao et al. 2023)",
        "UniPC",
        ("uni_pc_bh2",),
        schedulers={"UniPCMultistepScheduler": {"solver_order": 2, "solver_type": "bh2", "predict_x0": True}},
    ),
    "deis": Names(
        "DEIS: exponential integrator, multistep, second order (Zhang and Chen 2023)",
        "DEIS",
        schedulers={"DEISMultistepScheduler": {}},
    ),
    "dpm2": Names(
        "DPM-Solver-2: two evaluations a step (Lu et al. 2022a)",
        "DPM2",
        ("dpm_2", "kdpm_2"),
        automatic="karras",
        schedulers={"KDPM2DiscreteScheduler": {}},
    ),
    "dpm2-a": Names(
        "DPM-Solver-2 ancestral: two evaluations a step, and fresh noise after it",
        "DPM2 a",
        ("dpm_2_a", "dpm_2_ancestral", "kdpm_2_a", "dpm2_ancestral"),
        automatic="karras",
        schedulers={"KDPM2AncestralDiscreteScheduler": {}},
    ),
    "dpmpp-2s": Names(
        "DPM-Solver++ (2S): second order in pairs of steps (Lu et al. 2022, algorithm 1)",
        "DPM++ 2S",
        ("dpmsingle",),
        schedulers={"DPMSolverSinglestepScheduler": _MULTISTEP},
    ),
    "dpmpp-2s-a": Names(
        "DPM-Solver++ (2S) ancestral: two evaluations a step, and fresh noise after it",
        "DPM++ 2S a",
        ("dpmpp_2s_ancestral",),
        automatic="karras",
    ),
    "dpmpp-sde": Names(
        "DPM-Solver++ on the reverse SDE: two evaluations a step, fresh noise in each",
        "DPM++ SDE",
        ("dpmpp_sde_gpu",),
        automatic="karras",
        schedulers={"DPMSolverSDEScheduler": {}},
    ),
    "dpmpp-3m-sde": Names(
        "DPM-Solver++ (3M) on the reverse SDE: third order, fresh noise at each step",
        "DPM++ 3M SDE",
        ("dpmpp_3m_sde_gpu",),
        automatic="exponential",
    ),
    "lcm": Names(
        "Latent consistency sampling, for distilled models, 1 to 8 steps (Luo et al. 2023)",
        "LCM",
        schedulers={"LCMScheduler": {}},
    ),
    "tcd": Names(
        "Trajectory consistency sampling, for distilled models; --eta adds noise (Zheng et al. 2024)",
        "TCD",
        schedulers={"TCDScheduler": {}},
    ),
}

_SCHEDULES: Mapping[str, Names] = {
    "normal": Names("the model's own timesteps", "Normal", ("uniform", "discrete", "native")),
    "karras": Names("noise levels of Karras et al. 2022, equation 5, with rho 7", "Karras"),
    # k-diffusion's polyexponential is the same at rho 1, which AUTOMATIC1111 and NovelAI have.
    "exponential": Names(
        "noise levels evenly spaced in log sigma", "Exponential", ("polyexponential", "exp")
    ),
    "beta": Names(
        "noise levels at the quantiles of a beta distribution: more at both ends (Lee et al. 2024)", "Beta"
    ),
    "simple": Names("every so many of the training timesteps, from the last, as ComfyUI has it", "Simple"),
    "align-your-steps": Names(
        "noise levels found for Stable Diffusion 1.5, best at 10 steps (Sabour et al. 2024)",
        "Align Your Steps",
        ("ays",),
    ),
    "sgm-uniform": Names(
        "trailing timesteps, as Stability's generative-models spaces them", "SGM Uniform", ("trailing",)
    ),
}

WITH_ETA = ("ddim", "tcd")
"""Samplers that --eta is for."""

AUTOMATIC = "Automatic"
"""AUTOMATIC1111's schedule type for what each sampler is usually drawn with."""

SAMPLERS: Mapping[str, str] = {name: names.line for name, names in _SAMPLERS.items()}
"""Sampler names with a line about each."""

SCHEDULES: Mapping[str, str] = {name: names.line for name, names in _SCHEDULES.items()}
"""Schedule names (how noise levels are spaced) with a line about each."""


def read_sampler(text: str) -> Named | None:
    """The sampler that a name of any tool means; None where sdgen has no equal.

    The name may say a schedule at its end: "DPM++ 2M SGM Uniform", A1111's ``k_dpmpp_2m_ka`` and InvokeAI's
    ``dpmpp_2m_k`` (Karras).
    """
    if len(text) > _LONGEST:
        return None
    plain = _plain(re.sub(r"[\s_-]ka?\s*$", "karras", re.sub(r"^\s*(k|sample)[\s_-]", "", text.casefold())))
    if (name := _SAMPLER_OF.get(plain)) is not None:
        return name
    for ending, schedule in _ENDINGS:
        if plain.endswith(ending) and (name := _SAMPLER_OF.get(plain.removesuffix(ending))) is not None:
            return name if name.schedule else Named(name.sampler, schedule)
    return None


def read_schedule(text: str) -> str | None:
    """The schedule that a name of any tool means; None where sdgen has no equal, and for "Automatic"."""
    return _SCHEDULE_OF.get(_plain(text)) if len(text) <= _LONGEST else None


def is_automatic(text: str) -> bool:
    """Whether a schedule's name leaves the choice to the tool."""
    return len(text) <= _LONGEST and _plain(text) in ("", "automatic", "auto", "default")


def automatic_schedule(sampler: str) -> str | None:
    """The schedule that AUTOMATIC1111's "Automatic" is for a sampler of ours; None for its plain one."""
    return _SAMPLERS[sampler].automatic


def a1111_names(sampler: str, schedule: str | None) -> tuple[str, str]:
    """The sampler and the schedule type with which AUTOMATIC1111 draws what sdgen does.

    Args:
        sampler: a name of ``SAMPLERS``.
        schedule: a name of ``SCHEDULES``; None for the model's own, which is "Automatic" only where
            AUTOMATIC1111 takes that for the model's own, too.
    """
    names = _SAMPLERS[sampler]
    if schedule is None:
        return names.a1111, AUTOMATIC if names.automatic is None else _SCHEDULES["normal"].a1111
    return names.a1111, _SCHEDULES[schedule].a1111


def samplers_of_scheduler(class_name: str) -> Mapping[str, Mapping[str, Any]]:
    """The samplers that diffusers' class of this name can be, each with the settings that make it so."""
    return {
        name: names.schedulers[class_name]
        for name, names in _SAMPLERS.items()
        if class_name in names.schedulers
    }


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.casefold().replace("++", "pp"))


def _spellings(name: str, names: Names) -> Iterator[str]:
    yield from map(_plain, (name, names.a1111, *names.others))


def _samplers_by_spelling() -> Mapping[str, Named]:
    found = {spelling: Named(name, None) for name, n in _SAMPLERS.items() for spelling in _spellings(name, n)}
    found[_plain("ddim_trailing")] = Named("ddim", "sgm-uniform")
    for name, names in _SAMPLERS.items():
        for class_name in names.schedulers:
            # The first sampler of a class is what it is without settings.
            found.setdefault(_plain(class_name), Named(name, None))
    return found


_LONGEST = 100
"""Characters of a name that are looked at."""

_SAMPLER_OF = _samplers_by_spelling()
_SCHEDULE_OF = {spelling: name for name, n in _SCHEDULES.items() for spelling in _spellings(name, n)}
_ENDINGS = sorted(
    [*_SCHEDULE_OF.items(), *((word, None) for word in ("automatic", "default"))],
    key=lambda ending: -len(ending[0]),
)
