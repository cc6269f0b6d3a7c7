"""What other tools write into images about how they were drawn, in the words of ``Request``.

Read are AUTOMATIC1111's ``parameters`` text, which many tools write (``parameters_text``), and what InvokeAI,
SwarmUI, Fooocus, NovelAI and Easy Diffusion write. ComfyUI's graphs are named and not read: what a graph
draws depends on its nodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from sdgen.files import json_text
from sdgen.images import a1111_text
from sdgen.images.foreign_settings import Found, collect, whole


def read(texts: Mapping[str, str]) -> Found | None:
    """What the text of an image says, by chunk name; None where no tool is recognised."""
    for reader in _TOOLS:
        if (found := reader(texts)) is not None:
            return found
    return None


def _invokeai(texts: Mapping[str, str]) -> Found | None:
    """InvokeAI from 3.0 on: invokeai/app/invocations/metadata.py, ``CoreMetadataInvocation``."""
    values = _json_object(texts.get("invokeai_metadata", ""))
    return collect("InvokeAI", values, {"clipskip": whole("clip_skip")}) if values else None


def _invokeai_2(texts: Mapping[str, str]) -> Found | None:
    """InvokeAI 2: ``sd-metadata``, whose ``image`` has the settings (ldm/invoke/pngwriter.py)."""
    values = _json_object(texts.get("sd-metadata", ""))
    image = values.pop("image", None)
    if not isinstance(image, dict):
        return None
    prompt = image.pop("prompt", None)
    if isinstance(prompt, list):
        parts = [part.get("prompt") for part in prompt if isinstance(part, dict)]
        prompt = " ".join(part for part in parts if isinstance(part, str))
    texts = _without_negative(prompt) if isinstance(prompt, str) else {}
    name = values.pop("model_weights", None)
    return collect("InvokeAI", {**values, **image, "model": name, **texts})


def _dream(texts: Mapping[str, str]) -> Found | None:
    """InvokeAI 1 and 2: ``Dream``, a command such as ``"a fox [blurry]" -s 50 -S 7 -W 512 -A ddim``."""
    prompt, quote, options = texts.get("Dream", "").rpartition('"')
    if not quote:
        return None
    values: dict[str, str] = dict(
        re.findall(r"(?:^|\s)-([A-Za-z_]{1,20})\s+([^\s-]\S{0,200})", options[:4000])
    )
    named: dict[str, Any] = {_DREAM_OPTIONS.get(name, name): value for name, value in values.items()}
    return collect("InvokeAI", {**named, **_without_negative(prompt.strip().removeprefix('"'))})


def _swarmui(texts: Mapping[str, str]) -> Found | None:
    """SwarmUI: src/Text2Image/T2IParamInput.cs, ``GenRawMetadata``."""
    values = _json_object(texts.get("parameters", "")).get("sui_image_params")
    if not isinstance(values, dict):
        return None
    # ComfyUI's count, from the end: -1 leaves no layer out.
    return collect("SwarmUI", values, {"clipstopatlayer": _layers_from_the_end})


def _fooocus(texts: Mapping[str, str]) -> Found | None:
    """Fooocus: modules/meta_parser.py, ``FooocusMetadataParser``; earlier versions and forks wrote a comment.

    What it writes on request in AUTOMATIC1111's form, ``_automatic1111`` reads.
    """
    for name in ("parameters", "Comment"):
        values = _json_object(texts.get(name, ""))
        if values and ("fooocus_scheme" in texts or _FOOOCUS_KEYS & values.keys()):
            return collect("Fooocus", values, {"clipskip": whole("clip_skip", less=1)})
    return None


def _novelai(texts: Mapping[str, str]) -> Found | None:
    """NovelAI: the chunks ``Description`` and ``Comment``, whose JSON has the settings."""
    if texts.get("Software") != "NovelAI":
        return None
    values = _json_object(texts.get("Comment", ""))
    return collect("NovelAI", {"prompt": texts.get("Description", ""), **values})


def _easy_diffusion(texts: Mapping[str, str]) -> Found | None:
    """Easy Diffusion: ui/easydiffusion/utils/save_utils.py, the keys or the titles of TASK_TEXT_MAPPING.

    Its PNGs have a chunk for each setting, its WebP and JPEG files JSON. Its clip skip is yes or no: one
    layer, or none.
    """
    values = _json_object(texts.get("parameters", "")) or texts
    if "num_inference_steps" not in values and not {"Stable Diffusion model", "Steps"} <= values.keys():
        return None
    known = {name: value for name, value in values.items() if value not in ("None", "")}
    return collect("Easy Diffusion", known, {"clipskip": _yes_or_no})


def _comfyui(texts: Mapping[str, str]) -> Found | None:
    if any('"class_type"' in texts.get(name, "") for name in ("prompt", "workflow")) or "workflow" in texts:
        return Found("ComfyUI", {}, {})
    return None


def _automatic1111(texts: Mapping[str, str]) -> Found | None:
    return a1111_text.read(texts.get("parameters", ""))


def _without_negative(prompt: str) -> dict[str, str]:
    """InvokeAI 2's prompt, in which what stands in square brackets is the negative prompt."""
    negative = re.findall(r"\[([^\[\]]*)\]", prompt)
    positive = re.sub(r"\[[^\[\]]*\]", " ", prompt)
    return {"prompt": positive.strip(), "negative_prompt": " ".join(map(str.strip, negative))}


def _layers_from_the_end(value: Any) -> dict[str, Any] | None:
    found = whole("clip_skip")(value)
    return found and {"clip_skip": -found["clip_skip"] - 1}


def _yes_or_no(value: Any) -> dict[str, Any] | None:
    answers = {"true": 1, "false": 0}
    skipped = answers.get(str(value).lower())
    return None if skipped is None else {"clip_skip": skipped}


def _json_object(text: str) -> dict[str, Any]:
    if not text.lstrip().startswith("{"):
        return {}
    try:
        return json_text.parse_object(text)
    except ValueError:
        return {}


_DREAM_OPTIONS = {"s": "steps", "S": "seed", "W": "width", "H": "height", "C": "cfg_scale", "A": "sampler"}
_FOOOCUS_KEYS = {"base_model", "base_model_name", "fooocus_scheme", "sharpness"}

_TOOLS: tuple[Callable[[Mapping[str, str]], Found | None], ...] = (
    *(_invokeai, _invokeai_2, _dream, _swarmui, _fooocus, _novelai, _easy_diffusion),
    *(_automatic1111, _comfyui),
)
"""The most telling first: texts of one may have parts that are another's form."""
