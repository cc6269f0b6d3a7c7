"""An engine by its model's name, for commands: what has no networks is there without importing any."""

from __future__ import annotations

from typing import Any

from sdgen import models
from sdgen.pipeline.engine import Engine

_OF_WEIGHTS = ("vae", "loras", "embeddings", "variant", "prediction_type")


def opened(model: str, **options: Any) -> Engine:
    """What ``sdgen.load`` gives, with its options and errors; a filter in a tenth of a second less."""
    entry = models.find(model)
    if entry.weightless and not any(options.get(name) for name in _OF_WEIGHTS):
        from sdgen.pipeline.filter_engine import FilterEngine

        return FilterEngine(entry)
    import sdgen

    return sdgen.load(model, **options)
