"""What a model decides where a request does not, and what it cannot draw."""

from __future__ import annotations

from sdgen.checkpoints import Checkpoint
from sdgen.errors import InputError
from sdgen.models import Entry
from sdgen.networks.config import UNetConfig, VAEConfig
from sdgen.pipeline.sampler_tables import checkpoint_sampler
from sdgen.request import Request


def native_size(entry: Entry, checkpoint: Checkpoint) -> int:
    """Width and height of the pictures that a model was trained with, pixels."""
    if entry.size:
        return entry.size
    unet, vae = UNetConfig.from_config(checkpoint.unet.config), VAEConfig.from_config(checkpoint.vae.config)
    return unet.sample_size * vae.downsampling


def filled(request: Request, entry: Entry, checkpoint: Checkpoint) -> Request:
    """The request with every None replaced by the model's default."""
    size = native_size(entry, checkpoint)
    defaults = {
        "steps": entry.steps or 50,
        "guidance": entry.guidance or 7.5,
        "sampler": entry.sampler or checkpoint_sampler(checkpoint.scheduler),
        "schedule": entry.schedule,
        "width": size,
        "height": size,
        "model": entry.name,
    }
    return request.replace(
        **{name: value for name, value in defaults.items() if getattr(request, name) is None}
    )


def check_size(request: Request, multiple: int) -> None:
    """Refuse a size that the networks cannot draw.

    Raises:
        InputError: width or height is no multiple of ``multiple``.
    """
    for field in ("width", "height"):
        pixels = getattr(request, field)
        if pixels % multiple:
            near = max(multiple, round(pixels / multiple) * multiple)
            raise InputError(
                f"{field} {pixels} is not a multiple of {multiple}, which {request.model} needs; "
                f"the nearest is {near}",
                field,
            )
