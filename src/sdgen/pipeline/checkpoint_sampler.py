"""The sampler that a checkpoint's scheduler_config.json was written for, and what sdgen lacks of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sdgen.diffusion.sampler_names import samplers_of_scheduler
from sdgen.errors import CheckpointError
from sdgen.text.printable import printable

FALLBACK = "ddim"
"""The sampler where the config names none that sdgen has."""

_DEFAULTS: Mapping[str, Any] = {
    "algorithm_type": "dpmsolver++",
    "solver_order": 2,
    "predict_x0": True,
    "skip_prk_steps": True,
}
"""What diffusers' classes assume where the config is silent; a ``solver_type`` is then the sampler's own."""

_SETS = "the checkpoint's scheduler_config.json sets"

_WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {
    "use_lu_lambdas": (False,),
    "interpolation_type": ("linear",),
    "lambda_min_clipped": (-math.inf,),
    "variance_type": ("fixed_small",),
    "use_dynamic_shifting": (False,),
}
"""Settings of levels and noise that sdgen draws without, with the values under which they do nothing."""


@dataclass(frozen=True)
class OwnSampler:
    """How a checkpoint is drawn with where nobody says otherwise.

    Attributes:
        sampler: a name of ``sdgen.diffusion.sampler_names.SAMPLERS``.
        schedule: a name of ``sdgen.diffusion.sampler_names.SCHEDULES`` where the config sets a curve of
            levels, else None.
        warnings: a sentence on each thing that the config asks for and sdgen draws without.
    """

    sampler: str
    schedule: str | None
    warnings: tuple[str, ...]


def own_sampler(config: Mapping[str, Any]) -> OwnSampler:
    """The sampler of a scheduler_config.json.

    Raises:
        CheckpointError: the config is of flow matching, which is another kind of model.
    """
    name = config.get("_class_name")
    _refuse_flow(config, str(name))
    candidates = samplers_of_scheduler(str(name))
    if not candidates:
        asked = () if name is None else (_no_class(str(name)),)
        return OwnSampler(FALLBACK, _schedule(config), (*asked, *_left_out(config)))
    missing = {sampler: list(_differences(config, asked)) for sampler, asked in candidates.items()}
    sampler = min(missing, key=lambda candidate: len(missing[candidate]))
    lacking = tuple(
        f"{_SETS} {setting!r} to {_shown(config[setting])}, which the sampler {sampler} does not have;"
        f" it draws with {_shown(value)}"
        for setting, value in missing[sampler]
    )
    return OwnSampler(sampler, _schedule(config), (*lacking, *_left_out(config)))


def without_unknown(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config less those settings that ``own_sampler`` warns of and sdgen draws without."""
    return {name: value for name, value in config.items() if not _is_left_out(name, value)}


def _schedule(config: Mapping[str, Any]) -> str | None:
    return next(
        (name for name in ("karras", "exponential", "beta") if config.get(f"use_{name}_sigmas")), None
    )


def _refuse_flow(config: Mapping[str, Any], name: str) -> None:
    by_settings = config.get("prediction_type") == "flow_prediction" or config.get("use_flow_sigmas")
    if by_settings or name.startswith("FlowMatch"):
        raise CheckpointError(
            f"the checkpoint's scheduler is {printable(name[:80])} for flow matching, which sdgen cannot draw"
            " with; choose a model that predicts noise, v or the image"
        )


def _differences(config: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings of a sampler that the config sets otherwise, with the sampler's value."""
    for setting, value in asked.items():
        found = config.get(setting)
        if (_DEFAULTS.get(setting, value) if found is None else found) != value:
            yield setting, value


def _left_out(config: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        f"{_SETS} {setting!r} to {_shown(config[setting])}, which sdgen does not have; it draws without"
        for setting in _WITHOUT_EFFECT
        if _is_left_out(setting, config.get(setting))
    )


def _is_left_out(setting: str, value: Any) -> bool:
    return value is not None and setting in _WITHOUT_EFFECT and value not in _WITHOUT_EFFECT[setting]


def _no_class(name: str) -> str:
    return (
        f"the checkpoint's scheduler is {printable(name[:80])}, which sdgen does not have; it draws with"
        f" {FALLBACK} where no sampler is named"
    )


def _shown(value: Any) -> str:
    return printable(repr(value)[:40])
