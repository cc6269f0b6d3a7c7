"""Whether a model is drawn with by a prompt, and by this one, found out before it is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sdgen import models
from sdgen.diffusion.choices import WITHOUT_PROMPT, WITHOUT_TEXT
from sdgen.errors import SdgenError
from sdgen.models import Entry
from sdgen.request import Request

if TYPE_CHECKING:
    from sdgen.checkpoints import Checkpoint


LEAST_CLASSES = 10
"""As many as any class-conditional model may be expected to have."""


def takes_prompts(model: str | None) -> bool:
    """Whether a model draws what a prompt says, as far as the catalogue or its files tell; else True.

    Args:
        model: its name; None for the one that is drawn with where none is named.
    """
    try:
        entry = models.find(model or models.DEFAULT)
        if entry.task is not None:
            return entry.task not in WITHOUT_PROMPT
        return _checkpoint(entry).family.takes_prompts
    except SdgenError:  # Said when the model is needed.
        return True


def some_prompt(model: str, text: str, number: int = 0) -> str:
    """A prompt that a model can draw: the text, or a class, or nothing.

    Args:
        model: its name.
        text: for a model of text.
        number: another gives another class.
    """
    if not takes_prompts(model):
        return ""
    entry = models.find(model)
    task = entry.task or _checkpoint(entry).family.tasks[0]
    return str(number % LEAST_CLASSES) if task == "class-to-image" else text


def check(requests: Iterable[Request], model: str) -> None:
    """Refuse prompts that a model does not take, or that mean no class that it has, before it is loaded.

    Of a model that takes text, nothing is checked.

    Raises:
        InputError: there is one.
        SdgenError: the model's files cannot be read.
    """
    entry = models.find(model)
    checkpoint = _checkpoint(entry) if entry.task in (*WITHOUT_TEXT, None) else None
    if checkpoint is None or checkpoint.family.text:
        return
    from sdgen.pipeline.prompt_fields import check_prompts

    for request in requests:
        check_prompts(request, checkpoint, entry.name)


def _checkpoint(entry: Entry) -> Checkpoint:
    from sdgen.checkpoints import open_checkpoint

    return open_checkpoint(models.locate(entry.name, task=None))
