"""A request's sampling run as numbers: its sampler table, and what ``--fast`` leaves out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdgen.checkpoints.families.family import FORCED
from sdgen.diffusion.choices import SPACINGS
from sdgen.diffusion.samplers import sampler_table
from sdgen.diffusion.shortcuts import Shortcuts, shortcuts
from sdgen.diffusion.table import SamplerTable
from sdgen.errors import InputError
from sdgen.pipeline.checkpoint_sampler import without_unknown
from sdgen.request import Request


def request_table(
    scheduler: Mapping[str, Any],
    request: Request,
    second_pass: bool = False,
    forced: Mapping[str, Any] = FORCED,
) -> SamplerTable:
    """The table of a resolved request for a checkpoint with this scheduler_config.json.

    Args:
        scheduler: the config.
        request: resolved.
        second_pass: the table is that of the pass over the enlarged picture.
        forced: settings that stand above the config's, as the family's ``forced``.

    Raises:
        InputError: the sampler does not know its schedule or number of steps, or spacing or zero terminal SNR
            are asked for and change nothing.
        CheckpointError: the scheduler_config.json asks for something that sdgen does not draw with.
    """
    config = {**without_unknown(scheduler), **forced}
    if request.spacing is not None:
        _refuse_without_effect(config, request, second_pass, "spacing", "timestep_spacing", SPACINGS)
        config["timestep_spacing"] = request.spacing
    if request.zero_snr is not None:
        if request.zero_snr:
            values = (True, False)
            _refuse_without_effect(config, request, second_pass, "zero_snr", "rescale_betas_zero_snr", values)
        config["rescale_betas_zero_snr"] = request.zero_snr
    return _table(config, request, second_pass)


def table_shortcuts(scheduler: Mapping[str, Any], table: SamplerTable) -> Shortcuts:
    """What ``--fast`` leaves out of a table that ``request_table`` made with the same scheduler."""
    return shortcuts(table.timesteps, int(scheduler.get("num_train_timesteps") or 1000))


def _table(config: Mapping[str, Any], request: Request, second_pass: bool) -> SamplerTable:
    assert request.sampler is not None and request.steps is not None
    steps, run = request.steps, request.first_steps_run
    if second_pass:
        steps, run = request.hires_steps or steps, request.hires_steps_run
    return sampler_table(config, request.sampler, steps, request.schedule, request.eta, steps - run)


def _refuse_without_effect(
    config: Mapping[str, Any],
    request: Request,
    second_pass: bool,
    field: str,
    setting: str,
    values: Sequence[Any],
) -> None:
    """Refuse a field of a request that leaves the table as it is, whatever its value.

    Raises:
        InputError: it does.
    """
    seen: list[SamplerTable] = []
    for value in values:
        try:
            table = _table({**config, setting: value}, request, second_pass)
        except InputError:  # This value is not for so many steps, say: the others may be.
            return
        if seen and not _alike(seen[0], table):
            return
        seen.append(table)
    schedule = f" with the schedule {request.schedule}" if request.schedule else ""
    raise InputError(
        f"{field} changes nothing in the sampler {request.sampler}{schedule}; leave it out, or choose euler",
        field,
    )


def _alike(one: SamplerTable, other: SamplerTable) -> bool:
    return bool(np.array_equal(one.timesteps, other.timesteps) and np.array_equal(one.mix, other.mix))
