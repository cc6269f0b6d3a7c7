"""``sdgen show``: how an image was drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sdgen.cli.command import Command
from sdgen.cli.terminal import streams
from sdgen.errors import ExitCode, InputError
from sdgen.files import json_text
from sdgen.images import records
from sdgen.images.metadata import DETAILS
from sdgen.images.records import Record
from sdgen.request import FIELDS
from sdgen.request.fields import text_of
from sdgen.text.printable import printable

EXAMPLES = """\
sdgen show outputs/0001-a-red-fox-7.png
sdgen show outputs/*.png --json | jq -r '[.settings.seed, .file] | @tsv'"""

EXIT_STATUS = """\
0    every file was shown
1    none was
3    some were, some were not
141  the reader of stdout has gone"""

_SHOWN = (
    *(name for name in DETAILS if not name.endswith(("_seconds", "_bytes"))),
    *("created", "seconds", "warnings"),
)
"""The details of a sidecar that are shown."""


@click.command("show", cls=Command, notes=(("Examples", EXAMPLES), ("Exit status", EXIT_STATUS)))
@click.argument("files", metavar="IMAGE|SIDECAR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="A JSON object for each file, one a line.")
def command(files: tuple[Path, ...], as_json: bool) -> int:
    """Show how images were drawn: prompt, seed and settings, and the command that draws them again.

    PNG, WebP and JPEG images of sdgen, AUTOMATIC1111, InvokeAI, SwarmUI, Fooocus, NovelAI, Easy Diffusion
    and stable-diffusion.cpp are read, and sdgen's sidecars.
    """
    shown = 0
    with streams.results() as results:
        for file in files:
            try:
                record = records.read(file)
                unchanged = records.unchanged(record)
            except InputError as error:
                streams.tell(f"error: {printable(str(error))}")
                continue
            if as_json:
                results.line(json_text.write(_object(record, unchanged)))
            else:
                results.line(("\n" if shown else "") + _text(record, unchanged))
            shown += 1
    if shown == len(files):
        return ExitCode.OK
    return ExitCode.SOME_FAILED if shown else ExitCode.NONE_DRAWN


def _object(record: Record, unchanged: bool | None) -> dict[str, Any]:
    return {
        "file": str(record.file),
        "tool": record.tool,
        "settings": dict(record.settings),
        "details": dict(record.details),
        "other": dict(record.other),
        "image": None if record.image is None else str(record.image),
        "sidecar": None if record.sidecar is None else str(record.sidecar),
        "unchanged": unchanged,
        "command": record.command() or None,
    }


def _text(record: Record, unchanged: bool | None) -> str:
    rows: list[tuple[str, Any]] = [("drawn by", _drawn_by(record))]
    if record.sidecar is not None and record.image is None:
        rows.append(("image", f"{record.details.get('image')}, which is not beside the sidecar"))
    for name, field in FIELDS.items():
        value = record.settings.get(name)
        if name == "width" and record.size is not None:
            rows.append(("size", "{}x{}".format(*record.size)))
        elif name in ("width", "height"):
            continue
        elif name in ("prompt", "seed") or not field.is_usual(value):
            rows.append((name, _shown(name, value)))
    known = ((name, record.details.get(name)) for name in _SHOWN)
    rows += [(name, value) for name, value in known if value not in (None, [], False)]
    if unchanged is not None:
        rows.append(("pixels", "as recorded" if unchanged else "changed since they were recorded"))
    rows += record.other.items()
    if command := record.command():
        rows.append(("again", command))
    width = max(len(name) for name, _ in rows)
    lines = [printable(str(record.file))]
    for name, value in rows:
        text = printable("; ".join(map(str, value)) if isinstance(value, list) else str(value), kept="\n")
        lines.append(f"  {printable(name):<{width}}  {text}".replace("\n", f"\n{'':{width + 4}}"))
    return "\n".join(lines)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "unknown"
    return "none" if name == "prompt" and not value else text_of(value)


def _drawn_by(record: Record) -> str:
    if record.tool == "ComfyUI" and not record.settings:
        return "ComfyUI, whose graphs are not read"
    versions = record.details.get("versions")
    version = versions.get("sdgen") if isinstance(versions, dict) else None
    return f"{record.tool} {version}" if version else record.tool
