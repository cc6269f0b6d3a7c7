"""AUTOMATIC1111's calls as they are sent, some 45 fields of them: from fields to requests.

What sdgen has no equal of is named in the warning where it asks for something, and refused where the picture
would be another: scripts, samplers and schedules that there are not.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from typing import Any

from sdgen.diffusion.sampler_names import (
    WITH_ETA,
    automatic_schedule,
    is_automatic,
    read_sampler,
    read_schedule,
)
from sdgen.request import FIELDS, MAX_SEED, MAX_SIZE, RANDOM_SEED, Request
from sdgen.serve import pictures
from sdgen.serve.a1111.options import Options
from sdgen.serve.fields import Fields
from sdgen.serve.refusals import Refusal
from sdgen.serve.settings import Settings

RESIZES = ("stretch", "fill", "fit", "stretch")
"""``resize_mode`` by number: just resize, crop and resize, resize and fill, and by latents."""

_STRENGTH = 0.75
"""AUTOMATIC1111's default of ``denoising_strength``."""

_RANDOM_SEEDS = 2**32

_THEIRS = (
    *("prompt", "negative_prompt", "seed", "model", "width", "height", "eta", "sampler", "schedule"),
    *("mask_blur", "mask_invert", "only_masked", "strength", "resize"),
)
"""Fields of ``Request`` that AUTOMATIC1111 has otherwise."""

_WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {
    "styles": ([],),
    "restore_faces": (False,),
    "do_not_save_samples": (False, True),
    "do_not_save_grid": (False, True),
    "save_images": (False,),
    "s_churn": (0,),
    "s_tmin": (0,),
    "s_tmax": (0,),
    "s_noise": (1,),
    "s_min_uncond": (0,),
    "seed_resize_from_h": (0, -1),
    "seed_resize_from_w": (0, -1),
    "firstphase_width": (0,),
    "firstphase_height": (0,),
    "hr_checkpoint_name": ("", "Use same checkpoint"),
    "hr_sampler_name": ("", "Use same sampler"),
    "hr_scheduler": ("", "Use same scheduler"),
    "hr_prompt": ("",),
    "hr_negative_prompt": ("",),
    "image_cfg_scale": (1.5, 0),
    "initial_noise_multiplier": (1,),
    "refiner_checkpoint": ("", "None"),
    "refiner_switch_at": (0, 1),
    "override_settings_restore_afterwards": (True,),
    "script_args": ([],),
    "comments": ({},),
}
"""Fields without an equal here, each with the values that ask for nothing."""


@dataclasses.dataclass(frozen=True)
class Call:
    """What a client asks for.

    Attributes:
        requests: one for each picture.
        format: a name of ``sdgen.images.metadata.FORMATS``.
        send_images: whether it wants the pictures at all.
        parameters: what was sent, for the answer.
        headers: of the answer.
    """

    requests: tuple[Request, ...]
    format: str
    send_images: bool
    parameters: Mapping[str, Any]
    headers: Mapping[str, str]


def txt2img(values: Mapping[str, Any], settings: Settings, options: Options) -> Call:
    """A call of ``/sdapi/v1/txt2img``.

    Args:
        values: its JSON object.
        settings: of the server.
        options: that are set now.

    Raises:
        Refusal, InputError: it cannot be drawn.
    """
    fields = Fields(values)
    return _call(fields, _hires(fields), dict(values), settings, options)


def img2img(values: Mapping[str, Any], settings: Settings, options: Options) -> Call:
    """A call of ``/sdapi/v1/img2img``; arguments and errors as for ``txt2img``. It decodes pictures."""
    fields = Fields(values)
    kept = fields.flag("include_init_images")
    shown = dict(values) if kept else {**values, "init_images": None, "mask": None}
    return _call(fields, _started(fields, settings), shown, settings, options)


def _call(
    fields: Fields,
    start: dict[str, Any],
    shown: Mapping[str, Any],
    settings: Settings,
    options: Options,
) -> Call:
    _refuse_scripts(fields)
    count = fields.whole("batch_size", 1, settings.limits.pictures, 1)
    count *= fields.whole("n_iter", 1, settings.limits.pictures, 1)
    if count > settings.limits.pictures:
        most = settings.limits.pictures
        raise Refusal(422, f"batch_size times n_iter is {count}, and at most {most} are drawn", "batch_size")
    overridden = options.overridden(fields)
    asked = {
        **fields.request_fields(but=_THEIRS),
        **start,
        **_sampling(fields),
        "prompt": fields.text("prompt"),
        "negative_prompt": fields.text("negative_prompt"),
        "width": fields.whole("width", 8, MAX_SIZE, 0) or None,
        "height": fields.whole("height", 8, MAX_SIZE, 0) or None,
        "guidance": fields.real("cfg_scale", 0, 100),
        "model": overridden.model,
        "clip_skip": overridden.clip_skip,
    }
    if fields.flag("tiling"):
        asked["seamless"] = "xy"
    seeds = _seeds(fields, count)
    send_images = fields.flag("send_images", True)
    for name, neutral in _WITHOUT_EFFECT.items():
        value = fields.get(name)
        if value is not None and value not in neutral:
            fields.unheeded(name)
    first = Request(**asked, **seeds[0])
    settings.limits.check(first)
    requests = tuple(first.replace(**each) for each in seeds)
    return Call(requests, overridden.format, send_images, shown, fields.warning())


def _refuse_scripts(fields: Fields) -> None:
    """Refuse extensions: without them the picture would be another.

    Raises:
        Refusal: one is asked for.
    """
    if name := fields.get("script_name"):
        raise Refusal(422, f"Script '{str(name)[:80]}' not found", "script_name", "not_found")
    scripts = fields.get("alwayson_scripts") or {}
    if not isinstance(scripts, Mapping):
        raise Refusal(422, "alwayson_scripts must be an object", "alwayson_scripts", "invalid_type")
    for name, script in scripts.items():
        arguments = script.get("args") if isinstance(script, Mapping) else script
        if arguments and arguments not in ([False], [None]):
            message = f"always on script {str(name)[:80]} not found"
            raise Refusal(422, message, "alwayson_scripts", "not_found")


def _sampling(fields: Fields) -> dict[str, Any]:
    """Sampler, schedule and eta; the model's own where none is named."""
    name = fields.text("sampler_name") or fields.text("sampler_index")
    fields.get("sampler_index")
    named = read_sampler(name) if name else None
    if name and named is None:
        raise Refusal(404, f"Sampler not found: {name[:80]}", "sampler_name", "not_found")
    sampler, schedule = named or (None, None)
    asked = fields.text("scheduler")
    if asked and not is_automatic(asked):
        schedule = read_schedule(asked)
        if schedule is None:
            raise Refusal(404, f"Scheduler not found: {asked[:80]}", "scheduler", "not_found")
    elif schedule is None and sampler is not None:
        schedule = automatic_schedule(sampler)
    found: dict[str, Any] = {"sampler": sampler, "schedule": schedule}
    eta = fields.real("eta", 0, 1)
    if eta is not None and sampler in WITH_ETA:
        found["eta"] = eta
    elif eta not in (None, 0, 1):  # Of ancestral samplers 1 is what they draw with, and all that is sent.
        fields.unheeded("eta")
    return found


def _seeds(fields: Fields, count: int) -> list[dict[str, Any]]:
    """The seed of each picture, and what it varies: seeds that follow each other, or else variations' do."""
    strength = fields.real("subseed_strength", 0, 1, 0.0)
    seed, subseed = (_seed(fields, name, count) for name in ("seed", "subseed"))
    if not strength:
        return [{"seed": seed + number} for number in range(count)]
    return [
        {"seed": subseed + number, "variation_of": seed, "variation": strength} for number in range(count)
    ]


def _seed(fields: Fields, name: str, count: int) -> int:
    seed = fields.whole(name, RANDOM_SEED, MAX_SEED - count + 1, RANDOM_SEED)
    return secrets.randbelow(_RANDOM_SEEDS - count + 1) if seed == RANDOM_SEED else seed


def _hires(fields: Fields) -> dict[str, Any]:
    """The second pass, where there is one."""
    enabled = fields.flag("enable_hr")
    scale = fields.real("hr_scale", 1, 8, 2.0) or 2.0
    wide, high = (fields.whole(f"hr_resize_{axis}", 0, MAX_SIZE, 0) for axis in "xy")
    steps = fields.whole("hr_second_pass_steps", 0, 1000, 0)
    upscaler = fields.text("hr_upscaler", "Latent")
    strength = fields.real("denoising_strength", 0, 1, _STRENGTH)
    if not enabled:
        return {}
    known = upscaler.casefold() in ("lanczos", "none", "") or upscaler.casefold().startswith("latent")
    if not known:
        fields.unheeded("hr_upscaler")
    width, height = (fields.whole(name, 8, MAX_SIZE, 0) for name in ("width", "height"))
    if wide or high:
        wide = wide or round(high * width / height) if height else wide
        high = high or round(wide * height / width) if width else high
        if not (wide and high):
            raise Refusal(422, "hr_resize_x or hr_resize_y needs width and height", "hr_resize_x")
    elif width and height:
        wide, high = round(width * scale), round(height * scale)
    return {
        "hires": f"{wide // 8 * 8}x{high // 8 * 8}" if wide and high else scale,
        "hires_method": "latents" if upscaler.casefold().startswith("latent") else "lanczos",
        "hires_steps": steps or None,
        "hires_strength": strength,
    }


def _started(fields: Fields, settings: Settings) -> dict[str, Any]:
    """The picture that is started from, and its mask."""
    sent = fields.get("init_images")
    if not isinstance(sent, list) or len(sent) != 1 or not isinstance(sent[0], str):
        raise Refusal(422, "init_images must be a list of one picture in base64", "init_images")
    mode = fields.whole("resize_mode", 0, len(RESIZES) - 1, 0)
    if mode == len(RESIZES) - 1:
        fields.unheeded("resize_mode")
    start: dict[str, Any] = {
        "init_image": pictures.of_base64(sent[0], "init_images", settings.limits),
        "strength": fields.real("denoising_strength", 0, 1, _STRENGTH),
        "resize": RESIZES[mode],
    }
    mask, alone = fields.text("mask"), fields.flag("inpaint_full_res", True)
    padding = fields.whole("inpaint_full_res_padding", 0, MAX_SIZE, 0)
    blurs = [fields.real(name, 0, 256) for name in ("mask_blur", "mask_blur_x", "mask_blur_y")]
    invert, fill = fields.flag("inpainting_mask_invert"), fields.whole("inpainting_fill", 0, 3, 1)
    if mask:
        read = pictures.of_base64(mask, "mask", settings.limits)
        start |= {"mask": FIELDS["mask"].kind.check("mask", read), "mask_invert": invert}
        start["mask_blur"] = next((each for each in blurs if each is not None), 4.0)
        if alone:
            start["only_masked"] = padding
        if fill != 1:
            fields.unheeded("inpainting_fill")
    return start
