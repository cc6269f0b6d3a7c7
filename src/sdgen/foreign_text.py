"""What other tools write into images about how they were drawn, in the words of ``Request``.

Read are AUTOMATIC1111's ``parameters`` text, which many tools write, and the flat JSON of InvokeAI, SwarmUI,
Fooocus and NovelAI. ComfyUI's graphs are named and not read: what a graph draws depends on its nodes.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from sdgen import json_text
from sdgen.errors import InputError
from sdgen.request import Request
from sdgen.sampler_names import is_automatic, read_sampler, read_schedule


@dataclasses.dataclass(frozen=True)
class Found:
    """What a text says.

    Attributes:
        tool: who wrote it, as far as the text tells.
        settings: fields of ``Request`` with values that it takes.
        other: everything else that is plain, under the tool's own names.
    """

    tool: str
    settings: dict[str, Any]
    other: dict[str, Any]


def read(texts: Mapping[str, str]) -> Found | None:
    """What the text of an image says, by chunk name; None where no tool is recognised."""
    for name, tool, inner in _JSON_CHUNKS:
        values = _json_object(texts.get(name, ""))
        if inner is not None:
            values = values.get(inner, {})
        if isinstance(values, dict) and values:
            return from_json(tool, values)
    if texts.get("Software") == "NovelAI":
        values = _json_object(texts.get("Comment", ""))
        return from_json("NovelAI", {"prompt": texts.get("Description", ""), **values})
    if "parameters" in texts:
        if "fooocus_scheme" in texts:
            return from_json("Fooocus", _json_object(texts["parameters"]))
        return from_parameters(texts["parameters"])
    if any('"class_type"' in texts.get(name, "") for name in ("prompt", "workflow")) or "workflow" in texts:
        return Found("ComfyUI", {}, {})
    return None


def from_parameters(text: str) -> Found | None:
    """Settings in AUTOMATIC1111's form: a prompt, ``Negative prompt: ...`` and a line ``Steps: 20, ...``.

    None where there is no such line: a camera's comment, for example, is no prompt.
    """
    lines = text.strip().splitlines()
    for index in range(len(lines) - 1, -1, -1):
        if not lines[index].lstrip().startswith(_FIRST_KEYS):
            continue
        matches = _PAIR.findall(lines[index])
        if len(matches) >= _LEAST_PAIRS:
            pairs = {key.strip(): _unquoted(value) for key, value in matches}
            lines = lines[:index]
            break
    else:
        return None
    prompt, _, negative = ("\n" + "\n".join(lines)).partition(f"\n{_NEGATIVE}")
    values: dict[str, Any] = {"prompt": prompt[1:], "negative_prompt": negative.lstrip()}
    other: dict[str, Any] = {}
    for key, value in pairs.items():
        found = _PARAMETERS[key](value) if key in _PARAMETERS else None
        if found is None:
            other[key] = value
        else:
            values |= found
    tool = "sdgen" if pairs.get("Version", "").startswith("sdgen ") else pairs.get("App", "AUTOMATIC1111")
    return _checked(tool, values, other)


def from_json(tool: str, texts: Mapping[str, Any]) -> Found:
    """Settings in a flat JSON object whose keys are any of those that tools use."""
    values: dict[str, Any] = {}
    other: dict[str, Any] = {}
    for key, value in texts.items():
        field = _JSON_FIELDS.get(key.lower().replace(" ", "_"))
        if field == "model" and isinstance(value, Mapping):
            value = value.get("name") or value.get("model_name")
        if field == "sampler" and isinstance(value, str):
            if (found := sampler(value)) is None:
                other[key] = value
            else:
                values |= found
        elif field is not None and value is not None:
            if field in ("steps", "seed", "width", "height") and isinstance(value, str):
                value = _whole(value)
            values.setdefault(field, value)
        elif isinstance(value, (str, int, float, bool)):
            other[key] = value
    return _checked(tool, values, other)


def sampler(title: str) -> dict[str, str] | None:
    """The sampler, and the schedule where the title names it, of a title such as "DPM++ 2M Karras"."""
    found = read_sampler(title)
    return found and {name: value for name, value in found._asdict().items() if value is not None}


def _checked(tool: str, values: Mapping[str, Any], other: dict[str, Any]) -> Found:
    """Values that a request does not take are no settings of ours, but are still shown."""
    settings: dict[str, Any] = {}
    for name, value in values.items():
        try:
            settings[name] = getattr(Request(**{"prompt": "", name: value}), name)
        except InputError:
            if isinstance(value, (str, int, float)):
                other = {name: value, **other}
    return Found(tool, settings, other)


def _json_object(text: str) -> dict[str, Any]:
    if not text.lstrip().startswith("{"):
        return {}
    try:
        return json_text.parse_object(text)
    except ValueError:
        return {}


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?[0-9]{1,19}", text) else None


def _unquoted(value: str) -> str:
    if value.startswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value.strip()


def _number(field: str) -> Callable[[str], dict[str, Any] | None]:
    def read(text: str) -> dict[str, Any] | None:
        try:
            return {field: float(text)}
        except ValueError:
            return None

    return read


def _count(field: str, less: int = 0) -> Callable[[str], dict[str, Any] | None]:
    def read(text: str) -> dict[str, Any] | None:
        number = _whole(text)
        return None if number is None else {field: number - less}

    return read


def _size(text: str) -> dict[str, Any] | None:
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    return {"width": int(match[1]), "height": int(match[2])} if match else None


def _schedule(text: str) -> dict[str, Any] | None:
    name = read_schedule(text)
    return {} if is_automatic(text) else {"schedule": name} if name else None


_NEGATIVE = "Negative prompt:"
_FIRST_KEYS = ("Steps:", "Size:", "Seed:", "Sampler:")
_LEAST_PAIRS = 3
_PAIR = re.compile(r'(\w[\w \-/]{0,60}):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
"""A key and its value. Keys are bounded so that a text without an end of one takes no quadratic time."""

_PARAMETERS: Mapping[str, Callable[[str], dict[str, Any] | None]] = {
    "Steps": _count("steps"),
    "Sampler": sampler,
    "Schedule type": _schedule,
    "CFG scale": _number("guidance"),
    "Seed": _count("seed"),
    "Size": _size,
    "Model": lambda text: {"model": text},
    # AUTOMATIC1111 counts from 1, which leaves no layer out.
    "Clip skip": _count("clip_skip", less=1),
    "Eta": _number("eta"),
    "RNG": lambda text: {"rng": "torch"} if text == "CPU" else None,
}
"""Keys of the settings line with what reads them; None for a value that has no meaning here."""

_JSON_CHUNKS = (
    ("invokeai_metadata", "InvokeAI", None),
    ("parameters", "SwarmUI", "sui_image_params"),
)

_JSON_FIELDS = {
    **{name: name for name in ("prompt", "negative_prompt", "seed", "steps", "width", "height", "model")},
    "positive_prompt": "prompt",
    "negativeprompt": "negative_prompt",
    "uc": "negative_prompt",
    "cfg_scale": "guidance",
    "cfgscale": "guidance",
    "guidance_scale": "guidance",
    "scale": "guidance",
    "sampler": "sampler",
    "scheduler": "sampler",
    "base_model": "model",
}
