"""What a model decides where a request does not, and what it cannot draw."""

from __future__ import annotations

from sdgen.checkpoints import Checkpoint
from sdgen.diffusion.choices import WHOLE_PICTURES
from sdgen.errors import InputError
from sdgen.models import Entry
from sdgen.networks.config import UNetConfig, VAEConfig
from sdgen.pipeline import masked_size
from sdgen.pipeline.editing.resizing import size_for
from sdgen.pipeline.upscale_size import filled_for_upscaling
from sdgen.request import MAX_SIZE, Request

STRENGTH = 0.8
"""Of image to image; diffusers' default."""

MASKED_STRENGTH = 1.0
"""Where a part is repainted: what is kept is known, and nothing of what was there is wanted."""

HIRES_STRENGTH = {"latents": 0.6}
"""Of the second pass of ``hires``, by how the picture is enlarged: enlarged latents are blurred, and need
more (AUTOMATIC1111 has 0.7 for all)."""

USUAL_HIRES_STRENGTH = 0.4

VARIATION = 0.1
"""How far a variation is from what it varies: enough to be another picture of the same composition."""

INTERPOLATION = 0.5


def native_size(entry: Entry, checkpoint: Checkpoint) -> tuple[int, int]:
    """Height and width of the pictures that a model was trained with, pixels."""
    if entry.size:
        return entry.size, entry.size
    if checkpoint.family.native_size:
        return checkpoint.family.native_size, checkpoint.family.native_size
    unet, vae = UNetConfig.from_config(checkpoint.unet.config), VAEConfig.from_config(checkpoint.vae.config)
    height, width = unet.sample_size
    return height * vae.downsampling, width * vae.downsampling


def filled(
    request: Request,
    entry: Entry,
    checkpoint: Checkpoint,
    multiple: int,
    sampler: str,
    schedule: str | None = None,
) -> Request:
    """The request with every None replaced by the model's default.

    Args:
        request: as it was asked for.
        entry: what the catalogue says of the model.
        checkpoint: the model.
        multiple: of width and height.
        sampler: where neither the request nor the catalogue names one.
        schedule: where the request names none.
    """
    height, width = native_size(entry, checkpoint)
    request = filled_for_upscaling(request, checkpoint, entry.name, multiple)
    picture = None if request.upscale else request.init_image
    if picture:
        most = MAX_SIZE // multiple * multiple
        source = (picture.width, picture.height)
        if request.masked:
            request = masked_size.filled_for_mask(request, multiple, (width, height))
        width, height = size_for(source, multiple, most, request.width, request.height)
    defaults = {
        "steps": entry.steps or checkpoint.family.steps,
        "guidance": _guidance(entry, checkpoint),
        "sampler": entry.sampler or sampler,
        "schedule": schedule,
        "width": width,
        "height": height,
        "model": entry.name,
        "strength": _strength(request, checkpoint) if picture else None,
    }
    if request.hires:
        defaults["hires_strength"] = HIRES_STRENGTH.get(request.hires_method, USUAL_HIRES_STRENGTH)
    if request.variation_of is not None:
        defaults["variation"] = VARIATION
    if request.prompt_to is not None:
        defaults["interpolation"] = INTERPOLATION
    missing = {name: value for name, value in defaults.items() if getattr(request, name) is None}
    resolved = request.replace(**missing)
    if resolved.hires and resolved.picture_size:
        resolved = resolved.replace(hires="{}x{}".format(*resolved.picture_size))
    return resolved


def _guidance(entry: Entry, checkpoint: Checkpoint) -> float:
    """The scale of guidance; 1, which is none, where there is no prompt to follow."""
    if entry.guidance is not None:
        return entry.guidance
    return checkpoint.family.guidance if checkpoint.family.takes_prompts else 1.0


def _draws_whole_pictures(checkpoint: Checkpoint) -> bool:
    return not set(WHOLE_PICTURES).isdisjoint(checkpoint.family.tasks)


def _strength(request: Request, checkpoint: Checkpoint) -> float:
    """How much of a picture is drawn anew where a request does not say it.

    What is outpainted begins as the picture, mirrored. A model that knows no masks goes on better from
    some of it (AUTOMATIC1111 advises 0.8, too); one for inpainting sees the picture itself.
    """
    if request.outpaint is not None and request.mask is None and not request.mask_alpha:
        return STRENGTH if _draws_whole_pictures(checkpoint) else MASKED_STRENGTH
    return MASKED_STRENGTH if request.masked else STRENGTH


def check_strength(request: Request) -> None:
    """Refuse a strength that leaves nothing to do.

    Raises:
        InputError: no step is run.
    """
    if request.first_steps_run == 0:
        raise InputError(
            f"with strength {request.strength:g} none of {request.steps} steps is run; "
            "raise the strength or the steps",
            "strength",
        )
    if request.hires and request.hires_steps_run == 0:
        raise InputError(
            f"with hires_strength {request.hires_strength:g} none of {request.hires_steps or request.steps} "
            "steps is run at the larger size; raise the strength or the steps",
            "hires_strength",
        )


def check_fast(request: Request, native: tuple[int, int]) -> None:
    """Refuse shortcuts in a picture that is enlarged in windows: each would keep its features in memory.

    Args:
        request: resolved.
        native: height and width of a window, pixels.

    Raises:
        InputError: it has both.
    """
    height, width = request.height or 0, request.width or 0
    if request.fast and request.upscale and (height > native[0] or width > native[1]):
        raise InputError(
            f"fast is for what is drawn at once, up to {native[1]}x{native[0]}, and this picture becomes "
            f"{width}x{height}; leave it out",
            "fast",
        )


def check_size(request: Request, multiple: int) -> None:
    """Refuse a size that the networks cannot draw.

    Raises:
        InputError: width or height is no multiple of ``multiple``, or ``hires`` does not enlarge.
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
    if request.hires:
        _check_hires(request, multiple)


def _check_hires(request: Request, multiple: int) -> None:
    first, size = (request.width, request.height), request.picture_size
    assert first[0] and first[1] and size
    wrong = None
    if any(side % multiple for side in size):
        wrong = f"is not a multiple of {multiple} in both directions, which {request.model} needs"
    elif size[0] < first[0] or size[1] < first[1] or size == first:
        wrong = f"does not enlarge the {first[0]}x{first[1]} that is drawn first"
    if wrong:
        raise InputError(f"hires {request.hires} {wrong}; give another size or factor", "hires")


def require_whole_pictures(checkpoint: Checkpoint) -> None:
    """Refuse a model that draws no whole pictures.

    Raises:
        InputError: it fills in parts of them alone.
    """
    if not _draws_whole_pictures(checkpoint):
        raise InputError(
            f"{checkpoint.name} is for {' and '.join(checkpoint.family.tasks)}: it fills a part of a picture "
            "and cannot draw a whole one; give a picture and a mask, or take another model",
            "model",
        )
