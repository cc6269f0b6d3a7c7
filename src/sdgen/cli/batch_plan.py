"""``sdgen batch --dry-run``: what a batch would do, found out without a model."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from sdgen import models
from sdgen.batch_folder import BatchFolder
from sdgen.tasks import Task


def show(tasks: Sequence[Task], store: BatchFolder, batch_size: int | None, as_json: bool) -> None:
    """Print how many images, batches and programs there are, and the files, where names need no model."""
    there = []
    if not store.needs_model:
        there = [task for task in tasks if store.find(task, task.request) is not None]
    kept = {task.number for task in there}
    left = [task for task in tasks if task.number not in kept]
    groups = Counter(map(_program, left))
    size = batch_size or 1
    batches = {group: math.ceil(images / size) for group, images in groups.items()}
    files = [] if store.needs_model else [str(store.path(task, task.request)) for task in left]
    if as_json:
        plan: dict[str, Any] = {
            "requests": len(tasks),
            "there": len(there),
            "images": len(left),
            "batch_size": batch_size,
            "batches": sum(batches.values()),
            "programs": len(groups),
            "files": files,
        }
        click.echo(json.dumps(plan))
        return
    chosen = "" if batch_size else " (on a CPU; more on an accelerator)"
    click.echo(f"{len(tasks)} requests, {len(there)} there already, {len(left)} to draw")
    click.echo(f"{sum(batches.values())} batches of up to {size}{chosen}, {len(groups)} programs to compile")
    for (model, width, height, guided), images in groups.items():
        how = "" if guided else " without guidance"
        click.echo(f"  {model} {width or '?'}x{height or '?'}{how}: {images} images")
    click.echo("files:" if files or not left else "files: their names depend on the model")
    for file in files:
        click.echo(f"  {file}")


def _program(task: Task) -> tuple[str, int | None, int | None, bool]:
    """What decides which program draws a task, as far as it is known without the model.

    A prompt of more than 75 tokens needs another one.
    """
    request = task.request
    entry = models.find(request.model or "")
    guidance = request.guidance if request.guidance is not None else entry.guidance
    return (
        request.model or "",
        request.width or entry.size,
        request.height or entry.size,
        guidance is None or guidance > 1,
    )
