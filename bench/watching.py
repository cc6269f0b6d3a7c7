"""What --record and --preview cost: the time of a picture with each against the time without, in one run.

    python bench/watching.py [--model mini] [--backend tensorflow] [--steps 25] [--rounds 5] [--ways record]

The ways take turns, and the fastest round of each counts. Pictures are stored and records written; previews
go to a terminal of 80 x 50 whose other end throws them away. Processor time is told beside it, which other
programs on the machine disturb less: all threads' seconds beyond those of a plain picture; and the share of
the clock's time that passes while a record or a preview is made.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sdgen
from sdgen.batch.feeds import Feed
from sdgen.batch.outcomes import Outcome
from sdgen.batch.policy import Policy
from sdgen.batch.recording import Recording, RecordingStore
from sdgen.batch.renderer import Renderer
from sdgen.batch.store import Sink, Store
from sdgen.batch.tasks import Task
from sdgen.cli.terminal import abilities
from sdgen.cli.terminal.abilities import Abilities
from sdgen.cli.terminal.preview import Preview
from sdgen.images.process import Process
from sdgen.pipeline.results import Progress
from sdgen.pipeline.watching import Watch

BOTH = ("latents", "estimate")
RECORDS = {
    "--record gif": ("gif", ("estimate",), 64),
    "--record gif --record-of both": ("gif", BOTH, 64),
    "--record webp": ("webp", ("estimate",), 64),
    "--record apng": ("apng", ("estimate",), 64),
    "--record png": ("strip", ("estimate",), 8),
}
PREVIEWS = {
    "--preview, half blocks": Abilities(abilities.BLOCKS, True),
    "--preview, kitty": Abilities(abilities.KITTY, True),
    "--preview, iTerm2": Abilities(abilities.ITERM2, True),
    "--preview, sixels": Abilities(abilities.SIXEL, True, (10, 20)),
}


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ways", default="", help="those whose names have this in them")
    args = parser.parse_args()
    pipeline = sdgen.load(args.model, backend=args.backend)
    request = sdgen.Request(prompt="a red house", seed=7, steps=args.steps, model=args.model)
    devour = _terminal()
    found: dict[str, list[tuple[float, float, float]]] = {}
    for owner, name in ((RecordingStore, "look"), (Process, "encode"), (Preview, "show")):
        setattr(owner, name, _timed(getattr(owner, name)))
    ways = ["plain", *(way for way in (*RECORDS, *PREVIEWS) if args.ways in way)]
    for round in range(args.rounds + 1):
        for way in ways:
            seconds = _seconds(pipeline, request, way)
            if round:  # The first compiles.
                found.setdefault(way, []).append(seconds)
    wall, processor, _ = map(min, zip(*found["plain"], strict=True))
    print(f"plain: {wall:.2f} s a picture of {args.steps} steps, {processor:.2f} s of processor time")
    for way in ways[1:]:
        its_wall, its_processor, share = map(min, zip(*found[way], strict=True))
        print(
            f"{way}: {its_wall / wall:.3f} of the time, {100 * share:.1f} % of it within, "
            f"{its_processor - processor:+.2f} s of processor time"
        )
    assert devour.is_alive()


def _seconds(pipeline: sdgen.Pipeline, request: sdgen.Request, way: str) -> tuple[float, float, float]:
    """One picture, from its request to its files: by the clock, of processor time, and the share within."""
    with tempfile.TemporaryDirectory() as folder:
        store: Store = Sink(lambda image: image.save(Path(folder, "picture.png")))
        policy, preview = Policy(), None
        if way in RECORDS:
            store = RecordingStore(store, Recording(*RECORDS[way]))
            policy = Policy(watch=Watch(RECORDS[way][2]), look=store.look)
        elif way in PREVIEWS:
            preview = Preview(PREVIEWS[way], lambda: os.terminal_size((80, 50)))
            policy = Policy(watch=Watch())
        spent.clear()
        began = time.perf_counter(), time.process_time()
        for event in Renderer(lambda model: pipeline, store, policy).run(Feed([Task(request)])):
            if isinstance(event, Progress) and event.view and preview and preview.due():
                preview.show(event.view.colours)
            assert not isinstance(event, Outcome) or event.saved
        wall, processor = time.perf_counter() - began[0], time.process_time() - began[1]
        return wall, processor, sum(spent) / wall


spent: list[float] = []
"""Seconds within what is ``_timed``."""


def _timed(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*arguments: Any, **more: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments, **more)
        finally:
            spent.append(time.perf_counter() - began)

    return timed


def _terminal() -> threading.Thread:
    """Make stderr a terminal; what is written to it is read, and that is all."""
    ours, theirs = os.openpty()
    sys.stderr = os.fdopen(theirs, "w", encoding="utf-8")

    def read() -> None:
        while os.read(ours, 65536):
            pass

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


if __name__ == "__main__":
    main()
