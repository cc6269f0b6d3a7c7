"""What a checkpoint is, for people and programs that ask: no tensor is read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from sdgen.checkpoints.checkpoint import Checkpoint
from sdgen.checkpoints.pickles import is_pickle
from sdgen.diffusion.choices import DRAWN_TASKS


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint's family and parts, as JSON can hold them.

    Returns:
        ``family`` and ``task`` (of the family's, the first), ``usable`` (whether sdgen carries out one of
        its tasks and all parts are there), ``prediction`` (a prediction type), ``parameters`` by component,
        ``pickles``, the files of weights that are pickles, below the model's folder, and ``lacks``, what
        sentences call the parts of the family that are not there.
    """
    family = checkpoint.family
    parameters = {
        name: sum(math.prod(shape) for shape in component.tensors.shapes().values())
        for name, component in checkpoint.components.items()
    }
    there = {*checkpoint.tokenizers, *(name for name, number in parameters.items() if number)}
    parts = [*family.networks, *(text.tokenizer for text in family.text)]
    lacks = [family.label(name) for name in parts if name not in there]
    return {
        "family": family.name,
        "task": family.tasks[0],
        "usable": bool(set(family.tasks) & set(DRAWN_TASKS)) and not lacks,
        "prediction": checkpoint.scheduler.get("prediction_type", "epsilon"),
        "parameters": parameters,
        "pickles": [_below(file, checkpoint.source) for file in checkpoint.files if is_pickle(file)],
        "lacks": lacks,
    }


def _below(file: Path, source: str) -> str:
    """A file's name below the folder that a model was read from."""
    return (
        file.relative_to(source).as_posix()
        if file.is_relative_to(source) and str(file) != source
        else file.name
    )
