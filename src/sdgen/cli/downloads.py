"""Downloads as a person meets them: a bar, the licence, and the offer to fetch what is missing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sdgen import models
from sdgen.cli.terminal import streams
from sdgen.errors import ModelUnavailable
from sdgen.models import store
from sdgen.models.catalogue import Entry
from sdgen.request import Request
from sdgen.request.upscale_methods import MODELS
from sdgen.text.printable import printable

if TYPE_CHECKING:
    from tqdm import tqdm


class DownloadBar(models.Progress):
    """A download's progress on stderr: a bar on a terminal, a line for each file elsewhere.

    Args:
        quiet: show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: tqdm[None] | None = None

    def begin(self, name: str, total: int | None, done: int) -> None:
        if self.quiet:
            return
        if not sys.stderr.isatty():
            rest = f", {models.size_text(total - done)}" if total else ""
            streams.tell(f"{'resuming' if done else 'fetching'} {name}{rest}")
            return
        from tqdm import tqdm

        self._bar = tqdm(
            desc=printable(name),
            total=total,
            initial=done,
            unit="B",
            unit_scale=True,
            dynamic_ncols=True,
            file=sys.stderr,
        )

    def move(self, done: int) -> None:
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def note(self, text: str) -> None:
        if not self.quiet:
            streams.tell(text)


def say_licence(entry: Entry) -> None:
    """Say on stderr, once for each model, what licence its weights are under."""
    notice = models.licence_notice(entry)
    if notice:
        streams.tell(notice)


def locate(
    model: str, *, task: str | None = "text-to-image", quiet: bool = False, no_input: bool = False
) -> Path | None:
    """A model's place on this machine. On a terminal, one that is not here is fetched, after a question.

    None of a filter, which has no weights.

    Args:
        model: as for ``models.locate``.
        task: as for ``models.locate``.
        quiet: errors alone are shown, so nothing is asked.
        no_input: nothing is asked, terminal or not.

    Raises:
        ModelUnavailable: it is not here and not to be fetched, or cannot be.
        InputError: as for ``models.locate``.
    """
    if (entry := models.find(model)).weightless and task is not None:
        models.require_task(entry, task)
        return None
    try:
        return models.locate(model, task=task)
    except ModelUnavailable:
        if quiet or no_input or not can_ask():
            raise
        if not entry.sources or models.offline_asked():
            raise
        state = "is not" if store.state(entry) == "no" else "is not whole"
        if not streams.agrees(f"{entry.name} {state} on this machine. Fetch {_offer(entry)}?"):
            raise
    models.licence_notice(entry)  # It was in the question.
    return models.pull(model, anyway=True, progress=DownloadBar())


def task_of(requests: Iterable[Request]) -> str:
    """The task of a model that draws all of these: a model for inpainting draws masked pictures alone."""
    requests = list(requests)
    if all(request.upscale is not None for request in requests):
        return "upscaling"
    return "inpainting" if all(request.masked for request in requests) else "text-to-image"


def locate_for(requests: Sequence[Request], model: str, *, quiet: bool, no_input: bool) -> None:
    """``locate`` every model that some requests need, which are drawn with one.

    Raises:
        ModelUnavailable, InputError: as ``locate``.
    """
    locate(model, task=task_of(requests), quiet=quiet, no_input=no_input)
    between = dict.fromkeys(each.hires_method for each in requests if each.hires)
    for method in between:
        if method in MODELS:
            locate(MODELS[method].model, task="upscaling", quiet=quiet, no_input=no_input)


def can_ask() -> bool:
    """Whether somebody sits at a terminal and may be asked: ``SDGEN_NO_INPUT`` forbids it."""
    forbidden = os.environ.get("SDGEN_NO_INPUT", "").strip().lower() in ("1", "on", "yes", "true")
    return not forbidden and sys.stdin.isatty() and sys.stderr.isatty()


def _offer(entry: Entry) -> str:
    """How much is to be fetched, from where, under which licence."""
    offer = f"{models.download_text(entry)} from {models.host(entry)}"
    if entry.licence:
        offer += f", under the {entry.licence}"
    return offer + (f" ({entry.licence_url})" if entry.licence_url else "")
