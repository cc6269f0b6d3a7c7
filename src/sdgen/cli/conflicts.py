"""Options of a drawing command that exclude each other."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

from sdgen.diffusion.sampler_names import WITH_ETA
from sdgen.images import animation, image_files
from sdgen.request import Picture

STDOUT = "-"
KERAS_CV = "keras-cv"


@dataclasses.dataclass(frozen=True)
class Conflict:
    """Two options that exclude each other where ``clash`` finds that their values do."""

    first: str
    second: str
    clash: Callable[[Mapping[str, Any]], bool]
    sentence: str


def several(values: Mapping[str, Any]) -> bool:
    """Whether ``--init-image`` names a folder or a pattern of pictures."""
    return isinstance(values.get("init_image"), tuple)


def to_one_place(values: Mapping[str, Any]) -> bool:
    target: str | None = values["output"]
    return target is not None and (target == STDOUT or image_files.is_file_name(target))


def _other_format(values: Mapping[str, Any]) -> bool:
    target, format = values["output"], values["format"]
    if format is None or target in (None, STDOUT) or not image_files.is_file_name(target):
        return False
    return bool(image_files.format_of(target) != format)


def _one_file(first: str | None, second: str | None) -> bool:
    return None not in (first, second) and os.path.abspath(first or "") == os.path.abspath(second or "")


def _both_from_stdin(values: Mapping[str, Any]) -> bool:
    picture = values["init_image"]
    return STDOUT in values["prompts"] and isinstance(picture, Picture) and picture.file is None


CONFLICTS = (
    Conflict(
        "size",
        "width",
        lambda values: None not in (values["size"], values["width"]),
        "--size and --width both set the width; give one of them",
    ),
    Conflict(
        "size",
        "height",
        lambda values: None not in (values["size"], values["height"]),
        "--size and --height both set the height; give one of them",
    ),
    Conflict(
        "outpaint",
        "zoom_out",
        lambda values: None not in (values.get("outpaint"), values.get("zoom_out")),
        "--outpaint and --zoom-out both say what is added; give one of them",
    ),
    Conflict(
        "mask",
        "mask_alpha",
        lambda values: values.get("mask") is not None and bool(values.get("mask_alpha")),
        "--mask and --mask-alpha both say what is repainted; give one of them",
    ),
    Conflict(
        "quiet",
        "verbose",
        lambda values: values["quiet"] and values["verbose"],
        "--quiet and --verbose contradict each other; give one of them",
    ),
    Conflict(
        "output",
        "json",
        lambda values: values["output"] == STDOUT and values["json"],
        "-o - writes the image to stdout, where --json writes too; give one of them",
    ),
    Conflict(
        "output",
        "count",
        lambda values: values["count"] > 1 and to_one_place(values),
        "-o names a place for one image, and --count asks for more; give a folder with -o",
    ),
    Conflict(
        "output",
        "prompts",
        lambda values: len(values["prompts"]) > 1 and to_one_place(values),
        "-o names a place for one image, and there are several prompts; give a folder with -o",
    ),
    Conflict(
        "output",
        "init_image",
        lambda values: several(values) and to_one_place(values),
        "-o names a place for one image, and --init-image several to start from; give a folder with -o",
    ),
    Conflict(
        "prompts",
        "init_image",
        _both_from_stdin,
        "the prompt - and --init-image - are both read from stdin; give one of them otherwise",
    ),
    Conflict(
        "output",
        "name",
        lambda values: values["name"] is not None and to_one_place(values),
        "--name is for the files of a folder, and -o names one place; give one of them",
    ),
    Conflict(
        "output",
        "grid",
        lambda values: values["output"] == STDOUT and values["grid"],
        "-o - stores no image, and --grid puts stored ones on a sheet; give one of them",
    ),
    Conflict(
        "output",
        "grid",
        lambda values: _one_file(values["output"], values["grid"]),
        "-o and --grid name one file; give them different ones",
    ),
    Conflict(
        "quiet",
        "preview",
        lambda values: values["quiet"] and values["preview"],
        "--quiet shows errors alone, and --preview pictures; give one of them",
    ),
    Conflict(
        "engine",
        "record",
        lambda values: values["engine"] == KERAS_CV and values["record"],
        f"--engine {KERAS_CV} tells of no step before the last, and --record shows them; give one of them",
    ),
    Conflict(
        "engine",
        "preview",
        lambda values: values["engine"] == KERAS_CV and values["preview"],
        f"--engine {KERAS_CV} tells of no step before the last, and --preview shows them; give one of them",
    ),
    Conflict(
        "output",
        "record",
        lambda values: values["output"] == STDOUT and f".{values['record']}" in animation.FORMATS,
        "-o - stores no image that a record could be beside; name the record's file",
    ),
    Conflict(
        "output",
        "record",
        lambda values: _one_file(values["output"], values["record"]),
        "-o and --record name one file; give them different ones",
    ),
    Conflict(
        "output",
        "animate",
        lambda values: values["output"] == STDOUT and values["animate"],
        "-o - stores no image, and --animate shows stored ones; give one of them",
    ),
    Conflict(
        "record",
        "animate",
        lambda values: _one_file(values["record"], values["animate"]),
        "--record and --animate name one file; give them different ones",
    ),
    Conflict(
        "output",
        "animate",
        lambda values: _one_file(values["output"], values["animate"]),
        "-o and --animate name one file; give them different ones",
    ),
    Conflict(
        "grid",
        "animate",
        lambda values: _one_file(values["grid"], values["animate"]),
        "--grid and --animate name one file; give them different ones",
    ),
    Conflict(
        "grid",
        "record",
        lambda values: _one_file(values["grid"], values["record"]),
        "--grid and --record name one file; give them different ones",
    ),
    Conflict("output", "format", _other_format, "-o and --format name different formats; give one of them"),
    Conflict(
        "eta",
        "sampler",
        lambda values: values["eta"] and values["sampler"] not in (None, *WITH_ETA),
        f"--eta is for the samplers {' and '.join(WITH_ETA)}; leave it out or choose one of them",
    ),
)
