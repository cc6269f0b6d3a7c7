"""``sdgen samplers``: what --sampler and --schedule take."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

from sdgen.cli.command import Command
from sdgen.cli.terminal import streams
from sdgen.diffusion.sampler_names import SAMPLERS, SCHEDULES


@click.command("samplers", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def command(as_json: bool) -> None:
    """List the samplers and noise schedules, with a line about each."""
    if as_json:
        streams.show(json.dumps({"samplers": dict(SAMPLERS), "schedules": dict(SCHEDULES)}))
        return
    streams.show("\n".join([*_list("Samplers", SAMPLERS), "", *_list("Schedules", SCHEDULES)]))


def _list(heading: str, table: Mapping[str, str]) -> list[str]:
    width = max(map(len, table))
    return [heading, *(f"  {name:<{width}}  {line}" for name, line in table.items())]
