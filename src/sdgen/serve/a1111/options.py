"""AUTOMATIC1111's options: those that mean something here, and what a call sets of them for itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sdgen.serve.fields import Fields
from sdgen.serve.refusals import Refusal
from sdgen.serve.settings import Settings

MODEL, CLIP_SKIP, FORMAT = "sd_model_checkpoint", "CLIP_stop_at_last_layers", "samples_format"

_FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
_MOST_LAYERS = 12

_FIXED: Mapping[str, Any] = {
    "sd_checkpoint_hash": None,
    "sd_vae": "Automatic",
    "eta_ddim": 0.0,
    "eta_ancestral": 1.0,
    "eta_noise_seed_delta": 0,
    "randn_source": "GPU",
    "enable_emphasis": True,
    "show_progress_type": "Approx cheap",
    "live_previews_enable": True,
    "samples_save": False,
    "grid_save": False,
    "return_grid": False,
}
"""Options that clients look at and that stay as they are here."""


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The options of one call.

    Attributes:
        model: a name of the server's.
        clip_skip: last layers of the text encoder that are left out.
        format: a name of ``sdgen.images.metadata.FORMATS``.
    """

    model: str
    clip_skip: int = 0
    format: str = "png"


class Options:
    """The options of a server: all its clients have the same, as AUTOMATIC1111's do."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._values: dict[str, Any] = {MODEL: settings.models[0], CLIP_SKIP: 1, FORMAT: "png"}

    def described(self) -> dict[str, Any]:
        """Every option."""
        return {**_FIXED, **self._values}

    def set(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Set options; the warning's header names those that stay as they are.

        Clients send all of them back with one changed.

        Raises:
            Refusal: a value is wrong, or there is no such model; nothing is set then.
        """
        fields, changed = Fields(values), {}
        for name in values:
            if name in self._values:
                changed[name] = self._checked(fields, name)
            elif name in _FIXED and values[name] == _FIXED[name]:
                fields.get(name)
        self._values |= changed
        return fields.warning()

    def overridden(self, fields: Fields) -> Chosen:
        """The options of a call, with its ``override_settings``."""
        sent = fields.get("override_settings") or {}
        if not isinstance(sent, Mapping):
            raise Refusal(422, "override_settings must be an object", "override_settings", "invalid_type")
        inner, values = Fields(sent), dict(self._values)
        for name, value in sent.items():
            if name in values and value is not None:
                values[name] = self._checked(inner, name)
            elif name in _FIXED and value == _FIXED[name]:
                inner.get(name)
        for name in inner.left():
            fields.unheeded(f"override_settings.{name}")
        return Chosen(values[MODEL], values[CLIP_SKIP] - 1, _FORMATS[values[FORMAT]])

    def _checked(self, fields: Fields, name: str) -> Any:
        if name == CLIP_SKIP:
            return fields.whole(name, 1, _MOST_LAYERS, 1)
        if name == FORMAT:
            return fields.choice(name, tuple(_FORMATS), "png")
        model = fields.text(name)
        if model not in self._settings.models:
            names = ", ".join(self._settings.models)
            raise Refusal(404, f"model {model[:80]!r} not found; there are {names}", name, "not_found")
        return model
