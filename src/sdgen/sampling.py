"""A request's sampling run as numbers: its sampler table, and what ``--fast`` leaves out of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sdgen.diffusion.samplers import sampler_table
from sdgen.diffusion.shortcuts import Shortcuts, shortcuts
from sdgen.diffusion.table import SamplerTable
from sdgen.own_sampler import without_unknown
from sdgen.request import Request


def request_table(scheduler: Mapping[str, Any], request: Request) -> SamplerTable:
    """The table of a resolved request for a checkpoint with this scheduler_config.json.

    Raises:
        InputError: the sampler does not know its schedule or number of steps.
        CheckpointError: the scheduler_config.json asks for something that sdgen does not draw with.
    """
    # diffusers' StableDiffusionPipeline forces these two on every scheduler it is given.
    config = {**without_unknown(scheduler), "steps_offset": 1, "clip_sample": False}
    if request.spacing is not None:
        config["timestep_spacing"] = request.spacing
    if request.zero_snr is not None:
        config["rescale_betas_zero_snr"] = request.zero_snr
    assert request.sampler is not None and request.steps is not None
    return sampler_table(config, request.sampler, request.steps, request.schedule, request.eta)


def table_shortcuts(scheduler: Mapping[str, Any], table: SamplerTable) -> Shortcuts:
    """What ``--fast`` leaves out of a table that ``request_table`` made with the same scheduler."""
    return shortcuts(table.timesteps, int(scheduler.get("num_train_timesteps") or 1000))
