"""What an engine says of how it made an image, for the image's sidecar."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from sdgen import backend, models
from sdgen.checkpoints import Checkpoint

if TYPE_CHECKING:
    from sdgen.pipeline.engine import Engine


class Provenance:
    """Where an engine's pictures come from. It does not hold the engine, whose memory the next one may need.

    Args:
        checkpoint: the engine's.
        changes: what was merged into the model or put in place of parts of it, a phrase each.
        background: computes the weights' sha256, which takes a while.
    """

    def __init__(
        self, checkpoint: Checkpoint, changes: Sequence[str], background: ThreadPoolExecutor
    ) -> None:
        self.changes = list(changes)
        self._weights_sha256 = background.submit(checkpoint.sha256, models.file_sha256)

    def details(self, engine: Engine) -> dict[str, Any]:
        """Details that every image of the engine shares, and the memory that the engine has taken so far."""
        return {
            "model": engine.entry.name,
            "weights_sha256": self._weights_sha256.result(),
            "changes": self.changes,
            "engine": engine.engine,
            "backend": engine.backend,
            "device": engine.device,
            "dtype": engine.dtype,
            "low_memory": engine.low_memory,
            "peak_memory_bytes": backend.peak_memory(engine.device),
        }
