"""AUTOMATIC1111's ``parameters``: a prompt, ``Negative prompt: ...`` and a line ``Steps: 20, Sampler: ...``.

Many tools write it: Forge, SD.Next, Fooocus on request, stable-diffusion.cpp, civitai, nodes of ComfyUI.
The table of fields has the keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from sdgen.diffusion.sampler_names import a1111_names
from sdgen.files.version import VERSION
from sdgen.images.foreign_settings import Found, Reader, collect, plain, real, sampler, whole
from sdgen.request import FIELDS, Request


def write(request: Request, details: Mapping[str, Any] | None = None) -> str:
    """The text of a request.

    Args:
        request: as it was drawn, every default filled in.
        details: ``model`` and ``weights_sha256``, where known.
    """
    details = details or {}
    known: dict[str, tuple[str | None, Any]] = {
        "size": ("Size", f"{request.width}x{request.height}" if request.width and request.height else None),
        "weights": ("Model hash", (details.get("weights_sha256") or "")[:10] or None),
        **{name: (field.title, _written(request, name)) for name, field in FIELDS.items() if field.title},
    }
    if request.only_masked is not None:
        known["area"] = ("Inpaint area", "Only masked")
    known["model"] = (FIELDS["model"].title, details.get("model") or request.model)
    known["hires_strength"] = (_STRENGTH, _hires_strength(request))
    known["hires_size"] = ("Hires resize", None if _hires_factor(request) else request.hires)
    pairs = [*(known.pop(name) for name in _FIRST), *known.values(), ("Version", f"sdgen {VERSION}")]
    lines = [request.prompt]
    if request.negative_prompt:
        lines.append(f"{_NEGATIVE} {request.negative_prompt}")
    lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in pairs if value is not None))
    return "\n".join(lines)


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
    special = {**_SPECIAL, **({"eta": real("eta")} if of_ddim else {}), **_of_others(pairs)}
    return collect(tool, {**_with_own_seed(pairs), **texts}, special)


def _written(request: Request, name: str) -> Any:
    """A field's value as the text has it; None where it is left out."""
    if name in _WRITTEN:
        return _WRITTEN[name](request)
    value = getattr(request, name)
    if FIELDS[name].is_usual(value):
        return None
    return f"{value:g}" if isinstance(value, float) else value


def _hires_factor(request: Request) -> str | None:
    """The factor of ``hires``; None where its size is no multiple of the first pass's."""
    size, width, height = request.picture_size, request.width, request.height
    if not (request.hires and size and width and height):
        return None
    factor = f"{size[0] / width:.6g}"
    exact = (width * float(factor), height * float(factor)) == size
    return factor if exact else None


def _hires_strength(request: Request) -> str | None:
    """The second pass's, which a picture that was started from has a strength of its own in place of."""
    if request.hires_strength is None or request.init_image is not None:
        return None
    return f"{request.hires_strength:g}"


def _of_others(pairs: Mapping[str, str]) -> dict[str, Reader]:
    """Readers of what means something else with other keys, or nothing without them.

    With a second pass the strength is that one's. Without a strength a variation is none.
    """
    found: dict[str, Reader] = {}
    if any(key in pairs for key in ("Hires upscale", "Hires resize", "Hires upscaler")):
        found[plain(_STRENGTH)] = real("hires_strength")
    if not _varies(pairs):
        found[plain(_VARIATION_SEED)] = lambda _: None
    return found


def _varies(pairs: Mapping[str, str]) -> bool:
    return {"Seed", _VARIATION_SEED, f"{_VARIATION_SEED} strength"} <= pairs.keys()


def _with_own_seed(pairs: Mapping[str, str]) -> dict[str, str]:
    """AUTOMATIC1111's seed is the one that is varied, and ours the variation's."""
    if not _varies(pairs):
        return dict(pairs)
    return {**pairs, "Seed": pairs[_VARIATION_SEED], _VARIATION_SEED: pairs["Seed"]}


def written(request: Request, name: str) -> Any:
    """A field's value as the text has it; None where it is left out."""
    return _written(request, name)


def _enlarging(request: Request) -> str:
    """AUTOMATIC1111's name of what enlarges between the passes, or ours."""
    return _ENLARGING.get(request.hires_method, request.hires_method)


def _names(request: Request) -> tuple[str | None, str | None]:
    """AUTOMATIC1111's names of the sampler and the schedule."""
    return a1111_names(request.sampler, request.schedule) if request.sampler else (None, None)


def _quoted(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',:\n"') else text


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
"""A key, of bounded length: a text in which no key ends would take quadratic time."""
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

_FIRST = ("steps", "sampler", "schedule", "guidance", "seed", "size", "weights", "model", "clip_skip")
"""What AUTOMATIC1111 writes first; the other fields follow in their order."""

_ZERO_SNR = "Zero Terminal SNR"
_STRENGTH = "Denoising strength"
_VARIATION_SEED = "Variation seed"
_ENLARGING = {"lanczos": "Lanczos", "bicubic": "Bicubic", "latents": "Latent", "ldm-sr": "LDSR"}
_NOT_MASKED = "Inpaint not masked"
_WRITTEN: Mapping[str, Callable[[Request], Any]] = {
    "sampler": lambda request: _names(request)[0],
    "schedule": lambda request: _names(request)[1],
    # For AUTOMATIC1111, too, 1 is off; 0 draws the negative prompt there.
    "guidance": lambda request: None if request.guidance is None else f"{request.guidance or 1:g}",
    # It counts from 1, which leaves no layer out.
    "clip_skip": lambda request: request.clip_skip + 1 if request.clip_skip else None,
    "rng": lambda request: "CPU" if request.rng == "torch" else None,
    "zero_snr": lambda request: _ZERO_SNR if request.zero_snr else None,
    "seed": lambda request: request.base_seed,
    "variation_of": lambda request: None if request.variation_of is None else request.seed,
    "hires": _hires_factor,
    "hires_method": lambda request: _enlarging(request) if request.hires else None,
    "mask_invert": lambda request: _NOT_MASKED if request.mask_invert else None,
    "mask_blur": lambda request: f"{request.mask_blur:g}" if request.masked else None,
    # It joins both axes or none.
    "seamless": lambda request: "True" if request.seamless == "xy" else None,
}
"""Fields whose values AUTOMATIC1111 writes in words of its own."""

_SPECIAL: Mapping[str, Reader] = {
    plain(FIELDS["clip_skip"].title or ""): whole("clip_skip", less=1),
    plain(FIELDS["zero_snr"].title or ""): lambda value: {"zero_snr": True} if value == _ZERO_SNR else None,
}
"""Readers of keys that mean something else here than in other tools' texts."""
