"""Whether a model is drawn with by a prompt, found out before it is loaded."""

from __future__ import annotations

from sdgen import models
from sdgen.diffusion.choices import WITHOUT_PROMPT
from sdgen.errors import SdgenError


def takes_prompts(model: str | None) -> bool:
    """Whether a model draws what a prompt says, as far as the catalogue or its files tell; else True.

    Args:
        model: its name; None for the one that is drawn with where none is named.
    """
    try:
        entry = models.find(model or models.DEFAULT)
        if entry.task is not None:
            return entry.task not in WITHOUT_PROMPT
        from sdgen.checkpoints import open_checkpoint

        return open_checkpoint(models.locate(entry.name, task=None)).family.takes_prompts
    except SdgenError:  # Said when the model is needed.
        return True
