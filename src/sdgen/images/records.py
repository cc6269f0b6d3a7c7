"""What a file says about how an image was drawn: sdgen's sidecars and images, and those of other tools."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdgen.errors import InputError
from sdgen.files import json_text, picture_files
from sdgen.images import foreign_text, pictures
from sdgen.images.metadata import SIDECAR_SCHEMA, pixels_sha256
from sdgen.request import FIELDS, Request
from sdgen.request.fields import text_of
from sdgen.request.upscale_methods import method_of
from sdgen.text.printable import printable

if TYPE_CHECKING:
    from PIL import Image

MOST_SIDECAR_BYTES = 4_000_000


@dataclasses.dataclass(frozen=True)
class Additions:
    """What a model was loaded with: what ``sdgen.load`` takes under the same names."""

    vae: str | None = None
    loras: tuple[tuple[str, float | tuple[float, float]], ...] = ()
    embeddings: tuple[str, ...] = ()
    variant: str | None = None
    prediction_type: str | None = None


@dataclasses.dataclass(frozen=True)
class Record:
    """How an image was drawn, as far as a file tells.

    Attributes:
        file: what was read.
        tool: who drew it: "sdgen", "AUTOMATIC1111", "ComfyUI", ...
        settings: the fields of ``Request`` that are known.
        details: from a sidecar, what it has beyond the request; else empty.
        other: what another tool says beyond the settings, under its own names.
        image: the image file; None where a sidecar's is not beside it.
        sidecar: the sidecar; None where there is none.
    """

    file: Path
    tool: str
    settings: Mapping[str, Any]
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    other: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    image: Path | None = None
    sidecar: Path | None = None

    def request(self, **changes: Any) -> Request:
        """What was asked for, with some fields changed.

        Raises:
            InputError: too little is known, or the fields do not go together.
        """
        values = {**self.settings, **changes}
        if "prompt" not in values:
            raise InputError(f"{self.file} does not say what was drawn ({self.tool}'s settings are not read)")
        try:
            return Request.from_dict(values)
        except InputError as error:
            raise InputError(f"{self.file}: {error}", error.field) from None

    @property
    def additions(self) -> Additions:
        """What a sidecar's ``changes`` names."""
        loras, embeddings = [], []
        others: dict[str, str] = {}
        found = self.details.get("changes")
        for line in map(str, found if isinstance(found, list) else []):
            kind, _, value = line.partition(" ")
            if lora := _LORA.fullmatch(line):
                scale, unet = float(lora[2]), lora[3]
                loras.append((lora[1], scale if unet is None else (scale, float(unet))))
            elif kind == "embedding":
                embeddings.append(value)
            elif kind in _CHANGES:
                others[_CHANGES[kind]] = value
        return Additions(loras=tuple(loras), embeddings=tuple(embeddings), **others)

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height as drawn, or to which a picture was enlarged; None where they are unknown."""
        width, height = self.settings.get("width"), self.settings.get("height")
        factor, picture = self.settings.get("upscale"), self.settings.get("init_image")
        if factor is not None and isinstance(picture, Mapping):
            width, height = (picture.get(side, 0) * factor for side in ("width", "height"))
        return (width, height) if width and height else None

    def command(self) -> str:
        """The shell command that draws it again; empty where the prompt is unknown."""
        settings, options = dict(self.settings), []
        prompt = settings.pop("prompt", None)
        if prompt is None:
            return ""
        if settings.get("upscale") is not None:
            return self._enlarging_command()
        width, height = settings.pop("width", None), settings.pop("height", None)
        if width and height:
            settings["size"] = f"{width}x{height}"
        for name in sorted(settings, key=_option_order):
            value, field = settings[name], FIELDS.get(name)
            if value is None or (field is not None and field.is_usual(value)):
                continue
            option = field.flag if field else f"--{name}"
            if isinstance(value, bool):
                options.append(option if value else option.replace("--", "--no-", 1))
            else:
                options += [option, _option_text(value)]
        if self.details.get("engine") not in (None, "sdgen"):
            options += ["--engine", str(self.details["engine"])]
        added = self.additions
        options += ["--vae", added.vae] if added.vae else []
        for file, scale in added.loras:
            # The others are those that the prompt names.
            if isinstance(scale, float) and f"<lora:{Path(file).stem}" not in prompt:
                options += ["--lora", f"{file}:{scale:g}"]
        for file in added.embeddings:
            options += ["--embedding", file]
        options += ["--variant", added.variant] if added.variant else []
        options += ["--prediction", added.prediction_type] if added.prediction_type else []
        # A prompt that begins with a dash comes after the options; a dash alone would mean stdin.
        words = ["sdgen", "draw", *([prompt] if prompt.strip() else []), *options]
        if prompt.startswith("-"):
            words = ["sdgen", "draw", *options, "--", prompt]
        if prompt == "-":
            return f"echo - | {' '.join(map(quote, words))}"
        return " ".join(map(quote, words))

    def _enlarging_command(self) -> str:
        """The shell command that enlarges the picture again."""
        settings = dict(self.settings)
        picture, model = settings.pop("init_image", None) or {}, str(settings.pop("model", None))
        words = ["sdgen", "upscale", str(picture.get("file") or "-"), "--scale", str(settings.pop("upscale"))]
        method = method_of(model)
        words += ["--model", model] if method is None else ["--method", method]
        for name in sorted(set(settings) - {"width", "height"}, key=_option_order):
            field, value = FIELDS.get(name), settings[name]
            # What is as it always is goes without saying, a seed too: a filter has none.
            if field is not None and value not in (None, field.default, ""):
                words += [field.flag or f"--{name.replace('_', '-')}", _option_text(value)]
        variant = self.additions.variant
        words += ["--variant", variant] if variant else []
        return " ".join(map(quote, words))


def read(path: Path, picture: Image.Image | None = None) -> Record:
    """What a sidecar (``.json``) or an image says.

    An image that sdgen drew gets the details of its sidecar where that is beside it and tells the same.

    Args:
        path: the file.
        picture: the image, where the caller has decoded it.

    Raises:
        InputError: the file cannot be read, is no sidecar, or says nothing that is understood.
    """
    if path.suffix.lower() == ".json":
        return _read_sidecar(path)
    found = pictures.texts(picture or pictures.open_picture(path))
    beside = _sidecar_of(path)
    record = _read_texts(path, found)
    if beside is not None and (record is None or record.settings == beside.settings):
        return dataclasses.replace(beside, file=path)
    if record is None:
        raise InputError(f"{path} says nothing about how it was drawn")
    return record


def unchanged(record: Record) -> bool | None:
    """Whether the image still has the pixels that were recorded; None where that cannot be told.

    Raises:
        InputError: the image cannot be read.
    """
    recorded = record.details.get("pixels_sha256")
    if recorded is None or record.image is None or record.details.get("format") != "png":
        return None
    return bool(pixels_sha256(pictures.drawn(pictures.open_picture(record.image))) == recorded)


def quote(text: str) -> str:
    """The text as a word of a shell; control characters in the form $'...', so that none is shown raw."""
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_escaped, text))}'"


def _escaped(char: str) -> str:
    r"""A character within $'...', where \xa0 is a byte and \u00a0 the character."""
    if char in "\\'":
        return f"\\{char}"
    if "\x80" <= char <= "\xff" and not char.isprintable():
        return f"\\u{ord(char):04x}"
    return printable(char)


def _read_sidecar(path: Path) -> Record:
    with picture_files.open_file(path, MOST_SIDECAR_BYTES) as file:
        text = file.read(MOST_SIDECAR_BYTES)
    try:
        values = json_text.parse(text)
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None
    if not isinstance(values, dict) or not str(values.get("schema")).startswith(_SCHEMA_NAME):
        raise InputError(f"{path} is not a sidecar of sdgen")
    settings = {name: values.pop(name) for name in FIELDS if name in values}
    try:
        Request.from_dict(settings)
    except InputError as error:
        raise InputError(f"{path}: {error}", error.field) from None
    name = values.get("image")
    image: Path | None = None
    if isinstance(name, str) and name and Path(name).name == name and "\0" not in name:
        image = path.with_name(name)
    there = image is not None and os.path.isfile(image)
    return Record(path, "sdgen", settings, values, {}, image if there else None, path)


def _sidecar_of(image: Path) -> Record | None:
    try:
        record = _read_sidecar(image.with_suffix(".json"))
    except InputError:
        return None
    return record if record.details.get("image") == image.name else None


def _read_texts(path: Path, found: Mapping[str, str]) -> Record | None:
    others = foreign_text.read(found)
    if "sdgen" in found:
        try:
            request = Request.from_dict(json_text.parse_object(found["sdgen"]))
        except (ValueError, InputError):
            request = None
        if request is not None:
            kept = {name: others.other[name] for name in ("Model hash",) if others and name in others.other}
            return Record(path, "sdgen", request.to_dict(), other=kept, image=path)
    if others is None:
        return None
    return Record(path, others.tool, others.settings, other=others.other, image=path)


def _option_text(value: Any) -> str:
    """A field's value as an option takes it, to the last digit."""
    return str(value).removesuffix(".0") if isinstance(value, float) else text_of(value)


def _option_order(name: str) -> tuple[int, str]:
    return (_FIRST.index(name), "") if name in _FIRST else (len(_FIRST), name)


_SCALE = r"(-?[0-9]+(?:\.[0-9]+)?(?:e[-+][0-9]+)?)"
_LORA = re.compile(rf"LoRA (.+) at {_SCALE}(?: and {_SCALE})?", re.DOTALL)
_CHANGES = {"VAE": "vae", "variant": "variant", "prediction": "prediction_type"}
"""First words of lines of a sidecar's ``changes``, with the fields of ``Additions`` that they tell."""

_SCHEMA_NAME = SIDECAR_SCHEMA.rstrip("0123456789")
_FIRST = ("negative_prompt", "model", "seed", "steps", "guidance", "sampler", "schedule", "size")
