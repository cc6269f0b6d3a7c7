"""From the options of a drawing command to what is drawn and where it goes."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sdgen.cli import conflicts, prompts_given
from sdgen.cli.prompts_needed import takes_prompts
from sdgen.errors import InputError
from sdgen.images import image_files, naming
from sdgen.prompts import pictures
from sdgen.prompts.frames import frames
from sdgen.request import FIELDS, MAX_SEED, RANDOM_SEED, Request
from sdgen.request.fields import Field

STDOUT = conflicts.STDOUT
RANDOM_SEEDS = 2**32
_STRENGTH = (
    ParameterSource.DEFAULT,
    ParameterSource.DEFAULT_MAP,
    ParameterSource.ENVIRONMENT,
    ParameterSource.COMMANDLINE,
)
_NEUTRAL: Mapping[str, Any] = {"count": 1, "json": False, "quiet": False, "verbose": False}


def settle(ctx: click.Context) -> dict[str, Any]:
    """The options' values, without those that a stronger source's option excludes.

    ``--width 256`` puts aside a ``size`` of the settings file; ``--width`` and ``--size`` together are
    refused. A schedule in the sampler's name, "DPM++ 2M Karras", gives way to ``--schedule`` of the same
    source.

    Raises:
        click.UsageError: two options of one source contradict each other.
    """
    values = dict(ctx.params)
    if values["sampler"] is not None:
        values["sampler"], schedule = values["sampler"]
        stronger = _strength(ctx, "sampler") > _strength(ctx, "schedule")
        if schedule and (stronger or values["schedule"] is None):
            values["schedule"] = schedule
    for conflict in conflicts.CONFLICTS:
        if not conflict.clash(values):
            continue
        first, second = (_strength(ctx, name) for name in (conflict.first, conflict.second))
        if first == second:
            raise click.UsageError(conflict.sentence, ctx)
        weaker = conflict.first if first < second else conflict.second
        values[weaker] = _NEUTRAL.get(weaker)
    if values.get("zoom_out") is not None:
        values["outpaint"] = values["zoom_out"]
    for field in FIELDS.values():
        # A settings file may say how pictures are edited, whether or not this command edits one.
        if field.lacks(lambda name: values.get(FIELDS[name].parameter)) and not _is_given(ctx, field):
            values[field.parameter] = None
    return values


def _is_given(ctx: click.Context, field: Field) -> bool:
    """Whether the command line has the field's option, or one that sets it, too."""
    names = (field.parameter, *(("zoom_out",) if field.name == "outpaint" else ()))
    return ParameterSource.COMMANDLINE in map(ctx.get_parameter_source, names)


def settle_prompts(values: dict[str, Any], model: str) -> None:
    """Give a model that takes no prompt an empty one, where there is none; values are changed in place."""
    none = not values["prompts"] and values["interpolate"] is None and values["prompt_to"] is None
    if none and not takes_prompts(model):
        values["prompts"] = ("",)


def requests(values: Mapping[str, Any], model: str) -> list[Request]:
    """What to draw: ``count`` images of each prompt, or of each picture's, and all frames of each.

    The seeds are the same for each.

    Args:
        values: as ``settle`` gives them.
        model: the model's name.

    Raises:
        InputError: a prompt is unusable or missing, or the last seed is out of range.
    """
    seed, count = values["seed"], values["count"]
    if seed in (None, RANDOM_SEED):
        seed = secrets.randbelow(RANDOM_SEEDS - count + 1)
    if seed + count - 1 > MAX_SEED:
        raise InputError(f"the seeds {seed} to {seed + count - 1} go beyond {MAX_SEED}", "seed")
    fields, to = given(values, model), values["prompt_to"]
    prompts = [*values["prompts"], *([] if to is None else [to])]
    prompts = prompts_given.read(prompts, model, values["prompt_syntax"] == "plain")
    if to is not None:
        fields["prompt_to"] = prompts.pop()
    asked = [
        Request(**{**fields, **start, "seed": number})
        for start in _starts(values, prompts)
        for number in range(seed, seed + count)
    ]
    if not values["frames"]:
        return asked
    if conflicts.to_one_place(values):
        raise InputError("-o names a place for one image, and --frames asks for more; give a folder with -o")
    return [frame for request in asked for frame in frames(request, values["frames"])]


def _starts(values: Mapping[str, Any], prompts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Each prompt, with its picture if there are several pictures.

    The caption beside a picture stands for its prompt: among several, before those that are given; of one
    that is named, where none is given.
    """
    picture = values["init_image"]
    if conflicts.several(values) or (picture is not None and not prompts):
        started = picture if conflicts.several(values) else (picture,)
        for each, texts in zip(started, pictures.captions(started, prompts), strict=True):
            prompts_given.check(texts, values["prompt_syntax"] == "plain")
            yield from ({"prompt": prompt, "init_image": each} for prompt in texts)
        return
    yield from ({"prompt": prompt} for prompt in prompts)


def given(values: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The fields of ``Request`` that the options set, all but the prompt.

    Args:
        values: as ``settle`` gives them.
        model: the model's name.
    """
    width, height = values["size"] or (values["width"], values["height"])
    fields = {field.name: values[field.parameter] for field in FIELDS.values() if field.option}
    fields |= {"width": width, "height": height, "model": model}
    return {field: value for field, value in fields.items() if value is not None}


def destination(values: Mapping[str, Any]) -> image_files.Output | None:
    """Where the images go; None for stdout.

    Raises:
        InputError: the name template is wrong, or stdout is a terminal.
    """
    target, format = values["output"], values["format"]
    if target == STDOUT:
        if sys.stdout.isatty():
            raise InputError("-o - writes image bytes, and stdout is a terminal; send it to a file or a pipe")
        return None
    metadata = not values["no_metadata"]
    name = values["name"] or (naming.AS_STARTED if conflicts.several(values) else naming.DEFAULT)
    if target is None:
        return image_files.Output(image_files.FOLDER, name, format or "png", metadata)
    target = os.path.expanduser(target)
    if image_files.is_file_name(target):
        path = Path(target)
        return image_files.Output(
            path.parent,
            format=image_files.format_of(target),
            metadata=metadata,
            file_name=path.name,
            overwrite=values.get("overwrite", False),
        )
    return image_files.Output(Path(target), name, format or "png", metadata)


def _strength(ctx: click.Context, name: str) -> int:
    source = ctx.get_parameter_source(name)
    return _STRENGTH.index(source) if source in _STRENGTH else len(_STRENGTH)
