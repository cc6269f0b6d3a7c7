"""The environment variables that sdgen knows, and unknown ones that begin with its name."""

from __future__ import annotations

import os

import click

from sdgen.cli import guesses
from sdgen.cli.command import PREFIX

OTHER = (
    "SDGEN_CONFIG_DIR",
    "SDGEN_MODELS_DIR",
    "SDGEN_CACHE_DIR",
    "SDGEN_STATE_DIR",
    "SDGEN_OFFLINE",
    "SDGEN_TOKEN",
    "SDGEN_DOWNLOAD_TIMEOUT",
    "SDGEN_RETRY_DELAY",
)
"""The variables that sdgen reads and no option of a command does."""


def warnings() -> list[str]:
    """A sentence for each variable in force that looks like one of sdgen's and is none."""
    return [f"{name} is no variable of sdgen; {advice}" for name, advice in unknown().items()]


def unknown() -> dict[str, str]:
    """Variables in force that begin with ``SDGEN_`` and do nothing, each with what to do about it."""
    there = [name for name, value in sorted(os.environ.items()) if value and name.startswith(PREFIX)]
    # Looking through every command takes a moment; most environments have no variable of ours.
    if not there:
        return {}
    known = {name.removeprefix(PREFIX).lower().replace("_", "-"): name for name in (*_options(), *OTHER)}
    found = {}
    for name in there:
        if name not in known.values():
            near = guesses.meant(name.removeprefix(PREFIX).lower().replace("_", "-"), known)
            found[name] = f"did you mean {known[near]}?" if near else "unset it"
    return found


def _options() -> set[str]:
    """Every variable that an option of a command reads."""
    from sdgen.cli.root import root

    context = click.Context(root)
    commands = [root.get_command(context, name) for name in root.list_commands(context)]
    parameters = [parameter for command in commands if command for parameter in command.params]
    return {parameter.envvar for parameter in parameters if isinstance(parameter.envvar, str)}
