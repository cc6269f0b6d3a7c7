"""``sdgen grid``: a contact sheet."""

# mypy: disable-error-code="type-arg"
# As in sdgen.cli.types: click's parameter types are generic in some versions.

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import click

from sdgen.cli.command import Command
from sdgen.cli.terminal import streams
from sdgen.errors import InputError, OutputError
from sdgen.files import whole_files
from sdgen.images import image_files, pictures, sheet_layout

EXAMPLES = """\
sdgen grid outputs/ -o sheet.png
sdgen grid sweep/ -o sheet.png --rows sampler --columns steps
sdgen grid a.png b.png c.png -o row.webp --columns 3 --cell 512"""


class _FieldOrCount(click.ParamType):
    name = "FIELD|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        if not str(value).isdecimal():
            return str(value)
        if not 1 <= int(value) <= sheet_layout.MOST_IMAGES:
            self.fail(f"{value} is not 1 to {sheet_layout.MOST_IMAGES}", param, ctx)
        return int(value)


@click.command("grid", cls=Command, notes=(("Examples", EXAMPLES),))
@click.argument("paths", metavar="IMAGE|FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(),
    metavar="FILE",
    required=True,
    help="The sheet: a .png, .webp or .jpg file that is not there yet.",
)
@click.option("--rows", metavar="FIELD", help="A row for each value of this field, such as sampler.")
@click.option(
    "--columns",
    type=_FieldOrCount(),
    help="A column for each value of this field, or how many columns. Default: about a square.",
)
@click.option(
    "--cell",
    type=click.IntRange(16, 2048),
    default=256,
    show_default=True,
    metavar="PIXELS",
    help="Longer side of an image on the sheet; smaller images keep their size.",
)
@click.option("--no-metadata", is_flag=True, help="Leave out the mark that the images were made by AI.")
def command(
    paths: tuple[Path, ...],
    target: str,
    rows: str | None,
    columns: str | int | None,
    cell: int,
    no_metadata: bool,
) -> None:
    """Put images on one sheet, with captions that say in what they differ.

    Of a folder, all images below it but contact sheets are taken. Fields are those of sidecars, such as
    sampler, steps, guidance, seed and prompt, and also size and file. The sheet's path is printed.
    """
    from sdgen.images import contact_sheet

    path = Path(target).expanduser()
    if not image_files.is_file_name(str(path)):
        raise InputError(f"-o {target} is a folder; name an image file, such as sheet.png", "output")
    if os.path.exists(path):
        raise OutputError(f"{path} is already there and is not overwritten; give another name with -o")
    files = itertools.islice(pictures.find(paths), sheet_layout.MOST_IMAGES + 1)
    entries = [sheet_layout.entry(file) for file in files]
    sheet = contact_sheet.draw(sheet_layout.arrange(entries, rows, columns), cell)
    source_type = None if no_metadata else sheet_layout.source_type(entries)
    whole_files.write(path, contact_sheet.encode(sheet, image_files.format_of(path.name), source_type))
    with streams.results() as results:
        results.line(path)
