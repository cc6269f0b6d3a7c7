"""``--record``, ``--preview`` and ``--animate``: pictures that move."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from sdgen.batch.store import Store
from sdgen.cli.terminal import abilities
from sdgen.errors import InputError
from sdgen.images import animation

if TYPE_CHECKING:
    from sdgen.batch.recording import Recording
    from sdgen.cli.film import Film
    from sdgen.cli.run import Run
    from sdgen.cli.terminal.preview import Preview

STRIP = 8
"""Steps that a strip shows by default, at most."""


def recording(ctx: click.Context, values: Mapping[str, Any], pictures: int | None) -> Recording | None:
    """What is recorded; None without ``--record``.

    Args:
        ctx: of the command.
        values: its settled options.
        pictures: how many it draws; None for a batch, whose records all lie beside their pictures.

    Raises:
        InputError: the one file is for one picture, its name has another ending, or something is said of a
            record, and none is asked for.
        OutputError: the one file cannot be written.
    """
    asked = values["record"]
    if asked is None:
        for name in ("record_of", "record_steps"):
            if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                flag = f"--{name.replace('_', '-')}"
                raise InputError(f"{flag} says what --record shows; give --record, too", name)
        return None
    path = None if f".{asked}" in animation.FORMATS else Path(asked)
    format = animation.format_of(asked if path else f"x.{asked}")
    if path is not None and pictures != 1:
        kind = path.suffix.lower().lstrip(".")
        which = "a batch" if pictures is None else f"{pictures} pictures"
        raise InputError(
            f"--record {asked} is one file, and {which} would need one each; --record {kind} writes "
            f"NAME.process.{kind} beside each",
            "record",
        )
    from sdgen.batch.recording import Recording

    found = Recording(
        format,
        ("latents", "estimate") if values["record_of"] == "both" else (values["record_of"],),
        values["record_steps"] or (STRIP if format == "strip" else animation.MOST_MOMENTS),
        path.expanduser() if path else None,
        described=not values["no_metadata"],
        replace=pictures is None or bool(values.get("overwrite")),
    )
    found.prepare()
    return found


def film(values: Mapping[str, Any], pictures: int | None) -> Film | None:
    """What animates the pictures of a run; None without ``--animate``. ``pictures`` as for ``Film``.

    Raises:
        InputError, OutputError: as ``Film``.
    """
    if not values["animate"]:
        return None
    from sdgen.cli.film import Film

    # Whoever goes on with a batch has the same animation made again.
    replace = bool(values.get("overwrite", True))
    return Film(values["animate"], pictures, values["frame_rate"], replace, not values["no_metadata"])


def preview(ctx: click.Context, values: Mapping[str, Any]) -> Preview | None:
    """What shows pictures on the terminal; None without ``--preview``.

    A setting or variable that asks for it is for terminals alone; on the command line it is an error where
    it cannot be done.

    Raises:
        InputError: stderr cannot show pictures.
    """
    if not values["preview"]:
        return None
    if (why := abilities.obstacle()) is not None:
        if ctx.get_parameter_source("preview") is ParameterSource.COMMANDLINE:
            raise InputError(f"--preview draws on the terminal, and {why}; leave it out", "preview")
        return None
    from sdgen.cli.terminal.preview import Preview

    return Preview(abilities.found())


def attach(run: Run, store: Store, recording: Recording | None) -> Store:
    """Have a run look at its pictures for what is asked for; where they go then."""
    from sdgen.pipeline.watching import Watch

    if recording is None:
        if run.display.previews:
            run.policy = dataclasses.replace(run.policy, watch=Watch())
        return store
    from sdgen.batch.recording import RecordingStore

    run.records = RecordingStore(store, recording)
    run.policy = dataclasses.replace(run.policy, watch=recording.watch, look=run.records.look)
    return run.records
