"""``sdgen batch --dry-run``: what a batch would do, found out without a model."""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sdgen import models
from sdgen.batch.batch_folder import BatchFolder
from sdgen.batch.tasks import Task
from sdgen.cli.downloads import task_of
from sdgen.cli.terminal import streams
from sdgen.errors import InputError
from sdgen.request import Request
from sdgen.text.plurals import counted

if TYPE_CHECKING:
    from sdgen.text.tokenizer import ClipTokenizer

_ROW = 75
"""How many tokens of a prompt fit one row of the text encoder; a token is a byte or more."""


class Program(NamedTuple):
    """What decides which program draws a task, as far as it is known without the model."""

    model: str
    width: int | None
    height: int | None
    hires: str | None
    guided: bool
    chunks: int
    fast: bool
    tiles: bool


def check_files(tasks: Sequence[Task], values: Mapping[str, Any]) -> None:
    """Look at the files of the models that are here, and at what changes them.

    Raises:
        SdgenError: one cannot be used.
    """
    from sdgen.pipeline import loading
    from sdgen.prompts import prompt_loras

    for model in dict.fromkeys(task.request.model or "" for task in tasks):
        requests = [task.request for task in tasks if (task.request.model or "") == model]
        named = prompt_loras.named(requests)
        loading.check_files(
            model,
            vae=values["vae"],
            loras=(*values["lora"], *named),
            embeddings=values["embedding"],
            variant=values["variant"],
            prediction_type=values["prediction"],
            task=task_of(requests),
        )


def show(
    tasks: Sequence[Task],
    store: BatchFolder,
    batch_size: int | None,
    as_json: bool,
    embeddings: Sequence[str] = (),
) -> None:
    """Print how many images, batches and programs there are, and the files, where names need no model.

    Args:
        tasks: what the batch is asked for.
        store: where it goes.
        batch_size: images drawn at once, if that is given.
        as_json: print an object.
        embeddings: textual inversion files that prompts may name.
    """
    there = []
    if not store.needs_model:
        there = [task for task in tasks if store.find(task, task.request) is not None]
    kept = {task.number for task in there}
    left = [task for task in tasks if task.number not in kept]
    program_of = _Programs(embeddings)
    groups = Counter((program_of(task.request), task.request.clip_skip) for task in left)
    programs: Counter[Program] = Counter()
    for (program, _), images in groups.items():
        programs[program] += images
    size = batch_size or 1
    batches = sum(math.ceil(images / size) for images in groups.values())
    compiled = len(programs) + sum(program.hires is not None for program in programs)
    files = [] if store.needs_model else [str(store.path(task, task.request)) for task in left]
    if as_json:
        plan: dict[str, Any] = {
            "requests": len(tasks),
            "there": len(there),
            "images": len(left),
            "batch_size": batch_size,
            "batches": batches,
            "programs": compiled,
            "files": files,
        }
        lines = [json.dumps(plan)]
    else:
        chosen = "" if batch_size else " (on a CPU; more on an accelerator)"
        lines = [
            f"{counted(len(tasks), 'request')}, {len(there):,} there already, {len(left):,} to draw",
            f"{counted(batches, 'batch', 'batches')} of up to {size}{chosen}, "
            f"{counted(compiled, 'program')} to compile",
            *(f"  {_named(program)}: {counted(images, 'image')}" for program, images in programs.items()),
            "files:" if files or not left else "files: their names depend on the model",
            *(f"  {file}" for file in files),
        ]
    with streams.results() as results:
        results.line("\n".join(lines))


def _named(program: Program) -> str:
    how = "" if program.guided else " without guidance"
    how += " fast" if program.fast else ""
    how += f", then hires {program.hires}" if program.hires else ""
    how += " in tiles" if program.tiles else ""
    how += f", prompts of {program.chunks} x {_ROW} tokens" if program.chunks > 1 else ""
    return f"{program.model} {program.width or '?'}x{program.height or '?'}{how}"


class _Programs:
    """Finds the program of a request; ``embeddings`` are textual inversion files."""

    def __init__(self, embeddings: Sequence[str]) -> None:
        self._embeddings = embeddings
        self._chunks: dict[tuple[str, str], int] = {}
        self._find = functools.cache(models.find)  # Which reads the catalogue each time.

    def __call__(self, request: Request) -> Program:
        entry = self._find(request.model or "")
        guidance = request.guidance if request.guidance is not None else entry.guidance
        guided = guidance is None or guidance > 1
        prompts = (request.prompt, request.negative_prompt) if guided else (request.prompt,)
        return Program(
            request.model or "",
            request.width or entry.size,
            request.height or entry.size,
            request.hires,
            guided,
            max(self._rows(prompt, request.prompt_syntax) for prompt in prompts),
            request.fast,
            request.tiles,
        )

    def _rows(self, prompt: str, syntax: str) -> int:
        """Rows of the text encoder that a prompt takes."""
        short = len(prompt.encode()) <= _ROW and "BREAK" not in prompt and not self._embeddings
        if short or syntax == "plain":
            return 1
        if (prompt, syntax) not in self._chunks:
            from sdgen.text.prompt_tokens import tokenize_prompt

            self._chunks[prompt, syntax] = 1
            with contextlib.suppress(InputError):  # Said when the model is loaded.
                read = tokenize_prompt(prompt, self._tokenizer, embeddings=self._vectors)
                self._chunks[prompt, syntax] = len(read.tokens)
        return self._chunks[prompt, syntax]

    @functools.cached_property
    def _tokenizer(self) -> ClipTokenizer:
        from sdgen.text.tokenizer import ClipTokenizer

        return ClipTokenizer.clip()

    @functools.cached_property
    def _vectors(self) -> dict[str, int]:
        """Each textual inversion's name and number of vectors."""
        from sdgen.checkpoints.textual_inversion import read_embedding

        return {name: len(vectors) for name, vectors in map(read_embedding, self._embeddings)}
