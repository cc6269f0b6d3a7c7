"""AUTOMATIC1111's ``parameters``: a prompt, ``Negative prompt: ...`` and a line ``Steps: 20, Sampler: ...``.

Many tools write it: Forge, SD.Next, Fooocus on request, stable-diffusion.cpp, civitai, nodes of ComfyUI.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from sdgen.images.foreign_settings import Found, Reader, collect, real, sampler, whole


def read(text: str) -> Found | None:
    """The settings of such a text.

    None where it has no settings line: a camera's comment, for example, is no prompt.
    """
    lines = text.strip().splitlines()
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].lstrip().startswith(_FIRST_KEYS):
            pairs = _pairs(lines[index])
            if len(pairs) >= _LEAST_PAIRS:
                break
    else:
        return None
    prompt, _, negative = ("\n" + "\n".join(lines[:index])).partition(f"\n{_NEGATIVE}")
    texts = {"prompt": prompt[1:], "negative_prompt": negative.lstrip()}
    tool = _tool(pairs)
    if tool == "Fooocus":
        # The text above has its styles in it, which are no words of the user's.
        texts |= {name: pairs.pop(key) for name, key in _RAW.items() if key in pairs}
    # Eta is of ancestral samplers, too, whose own is 1.
    of_ddim = (sampler(pairs.get("Sampler")) or {}).get("sampler") == "ddim"
    return collect(tool, {**pairs, **texts}, {**_SPECIAL, **({"eta": real("eta")} if of_ddim else {})})


def _pairs(line: str) -> dict[str, str]:
    """The keys and values of a settings line; a value that is JSON is kept as its text.

    Each character is looked at a bounded number of times: keys have a bounded length, and after a few values
    that begin as JSON and are none, others are no longer tried.
    """
    found: dict[str, str] = {}
    at, tries = 0, 8
    while (key := _KEY.search(line, at)) is not None:
        start = key.end()
        end = None
        if line[start : start + 1] in ("[", "{") and tries:
            end = _json_end(line, start)
            tries -= end is None
        if end is None:
            value = _VALUE.match(line, start)
            end = value.end() if value else len(line)
        found[key[1].strip()] = _unquoted(line[start:end])
        at = end + 1
    return found


def _json_end(line: str, start: int) -> int | None:
    """Where the JSON that begins at ``start`` ends: civitai's resources, stable-diffusion.cpp's ``SDCPP``."""
    try:
        _, end = json.JSONDecoder().raw_decode(line, start)
    except (ValueError, RecursionError):
        return None
    return end


def _unquoted(value: str) -> str:
    if value.startswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value.strip()


def _tool(pairs: Mapping[str, str]) -> str:
    version = pairs.get("Version", "")
    for beginning, tool in _VERSIONS.items():
        if re.match(beginning, version):
            return tool
    if any(key.startswith("Civitai") for key in pairs):
        return "civitai"
    return pairs.get("App", "AUTOMATIC1111")


_NEGATIVE = "Negative prompt:"
_FIRST_KEYS = ("Steps:", "Size:", "Seed:", "Sampler:")
_LEAST_PAIRS = 3
_KEY = re.compile(r"(\w[\w \-/]{0,60}):\s*")
"""A key. It is bounded so that a text without an end of one takes no quadratic time."""
_VALUE = re.compile(r'"(?:\\.|[^\\"])*"|[^,]*')
_VERSIONS = {
    "sdgen ": "sdgen",
    "stable-diffusion.cpp": "stable-diffusion.cpp",
    "Fooocus": "Fooocus",
    "ComfyUI": "ComfyUI",
    r"f[0-9]": "Forge",
}
"""Beginnings of ``Version`` with the tool that writes them; Forge's are such as f2.0.1v1.10.1."""
_RAW = {"prompt": "Raw prompt", "negative_prompt": "Raw negative prompt"}

_SPECIAL: Mapping[str, Reader] = {
    # AUTOMATIC1111 counts from 1, which leaves no layer out.
    "clipskip": whole("clip_skip", less=1),
    "etaddim": real("eta"),
    "noiseschedule": lambda value: {"zero_snr": True} if value == "Zero Terminal SNR" else None,
}
"""What keys of this form mean that others use otherwise."""
