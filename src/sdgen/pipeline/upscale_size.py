"""What a model that enlarges pictures makes of a request: by how much, in what size, with how much noise."""

from __future__ import annotations

from sdgen.checkpoints import Checkpoint
from sdgen.errors import InputError
from sdgen.networks.config import UNetConfig
from sdgen.request import Request
from sdgen.request.bounds import MAX_DRAWN

NOISE_LEVEL = 20
"""diffusers' default, of a schedule of 1000."""


def filled_for_upscaling(request: Request, checkpoint: Checkpoint, name: str, multiple: int) -> Request:
    """The request with what is enlarged, as far as that follows from the picture and the model.

    A request of a model that enlarges no pictures comes back as it is.

    Args:
        request: as it was asked for.
        checkpoint: the model.
        name: of the model, for messages.
        multiple: of the width and height that it draws.

    Raises:
        InputError: it is not for this model, or the picture is too large.
    """
    factor = checkpoint.family.upscales
    if not factor:
        if request.upscale is not None:
            raise InputError(
                f"{name} draws pictures and enlarges none; leave out upscale, or take another", "upscale"
            )
        return request
    picture = request.init_image
    if picture is None:
        raise InputError(f"{name} enlarges pictures and cannot draw one; give it a picture", "init_image")
    request = request.replace(upscale=request.upscale or factor)
    assert request.upscale is not None
    if request.upscale > factor:
        raise InputError(
            f"{name} enlarges by {factor}, not by {request.upscale}; enlarge what it draws once more",
            "upscale",
        )
    k_blocks = UNetConfig.from_config(checkpoint.unet.config).k_blocks
    if k_blocks and request.fast:
        raise InputError(f"{name} has no steps that could be left out; leave fast out", "fast")
    # Where a network of K blocks is deepest, it mirrors the map at its edges: that takes two positions.
    least = multiple * (2 if k_blocks else 1)
    width, height = (
        max(least, -(-side * factor // multiple) * multiple) for side in (picture.width, picture.height)
    )
    if max(width, height) > MAX_DRAWN:
        raise InputError(
            f"{name} would draw {width}x{height} of {picture.width}x{picture.height}; the most is "
            f"{MAX_DRAWN} pixels a side",
            "upscale",
        )
    for field, side in (("width", width), ("height", height)):
        if getattr(request, field) not in (None, side):
            raise InputError(f"upscale says the size of an enlarged picture; leave out the {field}", field)
    return request.replace(width=width, height=height, noise_level=_noise_level(request, checkpoint, name))


def _noise_level(request: Request, checkpoint: Checkpoint, name: str) -> int | None:
    level, scheduler = request.noise_level, checkpoint.low_res_scheduler
    if not scheduler:
        if level is not None:
            raise InputError(f"{name} takes no noise on the picture; leave out noise_level", "noise_level")
        return None
    timesteps = int(scheduler.get("num_train_timesteps") or 1000)
    levels = min(timesteps, UNetConfig.from_config(checkpoint.unet.config).labels)
    level = min(NOISE_LEVEL, levels - 1) if level is None else level
    if level >= levels:
        raise InputError(f"{name} knows noise levels of 0 to {levels - 1}, not {level}", "noise_level")
    return level
