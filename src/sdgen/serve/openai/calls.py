"""OpenAI's image calls as they are sent: from fields to requests, and what the answer is to look like."""

from __future__ import annotations

import dataclasses
import re
import secrets
from collections.abc import Mapping
from typing import Any

from sdgen.errors import InputError
from sdgen.request import FIELDS, MAX_SEED, RANDOM_SEED, Request
from sdgen.request.pictures import Picture
from sdgen.serve import pictures
from sdgen.serve.fields import Fields
from sdgen.serve.refusals import Refusal
from sdgen.serve.settings import Settings

MOST_PARTIALS = 3
"""Partial images of one picture, at most; OpenAI's limit."""

_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_RANDOM_SEEDS = 2**32
_THEIRS = ("prompt", "model", "background", "width", "height")
"""Fields of ``Request`` that OpenAI has by other names, or means something else by."""

_WITHOUT_EFFECT = {
    "quality": ("auto", "standard"),
    "style": (),
    "moderation": ("auto", "low"),
    "input_fidelity": ("low",),
}
"""Fields of OpenAI's of which sdgen has no equal, each with the values that ask for nothing; others are named
in the warning."""

_OF_NO_PICTURE = ("user", "safety_identifier")
"""Fields that say who asks."""

_OURS = {"size": ("width", "height"), "image": ("init_image",), "prompt": ("prompt",)}
"""OpenAI's names, with those of ``Request`` that an error may have."""


@dataclasses.dataclass(frozen=True)
class ImageCall:
    """What a client asks for.

    Attributes:
        requests: one for each picture.
        format: a name of ``sdgen.images.metadata.FORMATS``.
        quality: of JPEG and WebP, 0 to 100; None for sdgen's own.
        as_url: whether the pictures are to be fetched from a URL.
        stream: whether events are wanted.
        partials: partial images of each picture.
        size: as it was asked for.
        asked_quality: as it was asked for.
        headers: of the answer.
    """

    requests: tuple[Request, ...]
    format: str
    quality: int | None
    as_url: bool
    stream: bool
    partials: int
    size: str
    asked_quality: str
    headers: Mapping[str, str]


def generation(values: Mapping[str, Any], settings: Settings) -> ImageCall:
    """A call of ``/v1/images/generations``.

    Args:
        values: its JSON object.
        settings: of the server.

    Raises:
        Refusal, InputError: it cannot be drawn.
    """
    return _call(Fields(values), {}, settings)


def edit(form: Mapping[str, list[str | bytes]], settings: Settings) -> ImageCall:
    """A call of ``/v1/images/edits``: what is transparent in the mask, or else in the picture, is repainted.

    A picture without either is drawn anew as a whole, as far as ``strength`` says.

    Args:
        form: its fields, as ``Bodies.read_form`` gives them.
        settings: of the server.

    Raises:
        Refusal, InputError: it cannot be drawn.
    """
    sent = [part for name in ("image", "image[]") for part in form.get(name, ())]
    if len(sent) != 1:
        reason = f"{len(sent)} were sent, and one can be edited" if sent else "none was sent"
        raise Refusal(400, f"image must be one picture: {reason}", "image", "invalid_image")
    init = _picture(sent[0], "image", settings)
    start: dict[str, Any] = {"init_image": init}
    if masks := form.get("mask"):
        start["mask"] = _opposite(_picture(masks[-1], "mask", settings))
    elif init.alpha:
        start["mask_alpha"] = True
    left = {name: parts[-1] for name, parts in form.items() if name not in ("image", "image[]", "mask")}
    return _call(Fields(left), start, settings)


def _call(fields: Fields, start: Mapping[str, Any], settings: Settings) -> ImageCall:
    limits = settings.limits
    given = fields.request_fields(but=_THEIRS)
    # Numbers and flags of a form come as text.
    count = fields.whole("n", 1, limits.pictures, 1)
    stream, partials = fields.flag("stream"), fields.whole("partial_images", 0, MOST_PARTIALS, 0)
    size, quality = fields.text("size", "auto") or "auto", fields.text("quality", "auto")
    format = fields.choice("output_format", ("png", "jpeg", "webp"), "png")
    compression = _compression(fields, format)
    as_url = fields.choice("response_format", ("b64_json", "url"), "b64_json") == "url"
    if fields.choice("background", ("auto", "opaque", "transparent"), "auto") == "transparent":
        raise Refusal(400, "background transparent is not drawn; leave it out", "background", "unsupported")
    for name, neutral in _WITHOUT_EFFECT.items():
        if fields.get(name) not in (None, *neutral):
            fields.unheeded(name)
    for name in _OF_NO_PICTURE:
        fields.get(name)
    width, height = _sides(size)
    asked = {"prompt": fields.text("prompt"), "width": width, "height": height, **start, **given}
    if not asked["prompt"] and "init_image" not in start:
        raise Refusal(400, "prompt is missing", "prompt", "missing")
    asked["model"] = _model(fields, settings)
    seed = asked.pop("seed", RANDOM_SEED)
    if seed == RANDOM_SEED:
        seed = secrets.randbelow(_RANDOM_SEEDS - count + 1)
    try:
        first = Request(**asked, seed=seed)
        if first.seed + count - 1 > MAX_SEED:
            raise InputError(f"the seeds {seed} to {seed + count - 1} go beyond {MAX_SEED}", "seed")
        limits.check(first)
    except InputError as error:
        error.field = theirs(error.field)
        raise
    requests = tuple(first.replace(seed=first.seed + number) for number in range(count))
    return ImageCall(requests, format, compression, as_url, stream, partials, size, quality, fields.warning())


def theirs(field: str | None) -> str | None:
    """OpenAI's name of a field of ``Request``."""
    return next((name for name, ours in _OURS.items() if field in ours), field)


def _model(fields: Fields, settings: Settings) -> str:
    """The model that is asked for, or the first where the server has none of that name."""
    name = fields.text("model")
    if name in settings.models:
        return name
    if name:
        fields.unheeded("model")
    return settings.models[0]


def _compression(fields: Fields, format: str) -> int | None:
    if fields.get("output_compression") is None:
        return None
    compression = fields.whole("output_compression", 0, 100, 100)
    if format == "png" and compression < 100:
        message = "output_compression below 100 is for jpeg and webp, and output_format is png"
        raise Refusal(400, message, "output_compression", "unsupported")
    return compression


def _sides(size: str) -> tuple[int | None, int | None]:
    if size == "auto":
        return None, None
    match = _SIZE.fullmatch(size)
    if match is None:
        raise Refusal(400, 'size must be "auto" or such as "512x512"', "size", "invalid_value")
    return int(match[1]), int(match[2])


def _picture(part: str | bytes, field: str, settings: Settings) -> Picture:
    if isinstance(part, str):
        raise Refusal(400, f"{field} must be a file of the form, and text was sent", field, "invalid_image")
    return pictures.of_bytes(part, field, settings.limits)


def _opposite(mask: Picture) -> Picture:
    """OpenAI's mask, whose transparent parts are repainted, as ours, whose white ones are."""
    if not mask.alpha:
        raise Refusal(400, "mask has no transparent part, so nothing is to change", "mask", "invalid_image")
    return FIELDS["mask"].kind.check("mask", 255 - mask.pixels()[..., 3])  # type: ignore[no-any-return]
