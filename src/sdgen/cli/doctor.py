"""``sdgen doctor``: what is installed here, and what is wrong with it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import click

from sdgen import models
from sdgen.cli import checks
from sdgen.cli.command import Command
from sdgen.cli.terminal import streams
from sdgen.errors import ExitCode


@click.command("doctor", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def command(as_json: bool) -> int:
    """Show versions, devices, folders, settings and models, and say what is wrong with them.

    The exit status is 0 where sdgen can draw, and 1 where it cannot.
    """
    problems: list[checks.Problem] = []
    report: dict[str, Any] = {
        "versions": checks.versions(problems),
        "backends": checks.backends(problems),
        "machine": checks.machine(problems),
        "folders": checks.places(problems),
        "settings": checks.settings_in_force(problems),
        "environment": checks.environment(problems),
    }
    report["models"] = checks.models_here(problems, report["settings"])
    usable = not any(problem.blocks for problem in problems)
    if as_json:
        report["problems"] = [dataclasses.asdict(problem) for problem in problems]
        streams.show(json.dumps({"usable": usable, **report}))
    else:
        streams.show(_text(report, problems))
    return ExitCode.OK if usable else ExitCode.NONE_DRAWN


def _text(report: Mapping[str, Any], problems: list[checks.Problem]) -> str:
    settings = report["settings"]
    blocks = {
        "Versions": report["versions"].items(),
        "Devices": ((name, _backend(found)) for name, found in report["backends"].items()),
        "Machine": _machine(report["machine"]),
        "Folders": ((name, _folder(found)) for name, found in report["folders"].items()),
        f"Settings in {settings['path']}{'' if settings['exists'] else ' (not there)'}": settings[
            "values"
        ].items(),
        "Environment": report["environment"].items(),
        "Models": ((name, _model(name, path)) for name, path in report["models"].items()),
    }
    lines = []
    for heading, rows in blocks.items():
        lines += [heading, *_table(rows), ""]
    if not problems:
        return "\n".join([*lines, "Nothing is wrong."])
    lines.append("Problems")
    lines += [f"  {problem.what}\n    {problem.remedy}" for problem in problems]
    return "\n".join(lines)


def _table(rows: Iterable[tuple[str, Any]]) -> list[str]:
    pairs = [(name, str(value)) for name, value in rows]
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"  {name:<{width}}  {value}" for name, value in pairs] or ["  none"]


def _backend(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({dtype})" for name, dtype in found["devices"].items()) or found["error"]


def _machine(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    memory = "unknown"
    if found["memory_bytes"] is not None:
        memory = f"{found['memory_bytes'] / 1e9:.1f} GB"
    if found["free_memory_bytes"] is not None:
        memory += f", {found['free_memory_bytes'] / 1e9:.1f} GB free"
    return [
        ("system", found["system"]),
        ("processor", " ".join([found["processor"], *found["features"]])),
        ("cores", str(found["cores"])),
        ("memory", memory),
    ]


def _folder(found: Mapping[str, Any]) -> str:
    state = "" if found["exists"] else ", not there yet"
    state += "" if found["writable"] else ", not writable"
    return f"{found['path']} ({found['free_bytes'] / 1e9:.1f} GB free{state})"


def _model(name: str, path: str | None) -> str:
    default = " (the default)" if name == models.DEFAULT else ""
    usable = models.find(name).usable
    return (path or f"not here; {f'sdgen models pull {name}' if usable else 'of no use yet'}") + default
