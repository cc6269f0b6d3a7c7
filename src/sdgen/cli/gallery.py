"""``sdgen gallery``: a folder of images as a web page."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import click

from sdgen.cli.command import Command
from sdgen.cli.terminal import streams
from sdgen.cli.types import Folder
from sdgen.errors import ExitCode, InputError
from sdgen.files import whole_files
from sdgen.images import gallery, pictures
from sdgen.text.printable import printable

EXAMPLES = """\
sdgen gallery outputs/
sdgen gallery outputs/ -o all.html --title "Foxes"
sdgen gallery photos/ sweep/ -o both.html"""

EXIT_STATUS = """\
0    the page has every image
1    the page cannot be written
2    there is no image
3    images that could not be read were left out
141  the reader of stdout has gone"""


@click.command("gallery", cls=Command, notes=(("Examples", EXAMPLES), ("Exit status", EXIT_STATUS)))
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=Folder())
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(),
    metavar="FILE",
    help="The page. Default: FOLDER/gallery.html.",
)
@click.option("--title", help="Of the page. Default: the folder's name.")
def command(folders: tuple[Path, ...], target: str | None, title: str | None) -> int:
    """Make one web page of the images below a folder: search, filters, full size, commands to copy.

    The page holds thumbnails and needs no server; it links to the images, so keep it beside them. An
    earlier gallery of that name is replaced, no other file is. The page's path is printed.
    """
    path = Path(target).expanduser() if target else folders[0] / "gallery.html"
    for folder in folders:
        if not os.path.isdir(folder):
            raise InputError(f"{folder} is not a folder")
    if os.path.isdir(path):
        raise InputError(f"-o {target} is a folder; name the page, such as {path / 'gallery.html'}")
    gallery.check_replaceable(path)
    files = list(itertools.islice(pictures.find(folders), gallery.MOST_IMAGES + 1))
    if len(files) > gallery.MOST_IMAGES:
        raise InputError(f"there are more than {gallery.MOST_IMAGES} images; make a page of each subfolder")
    items, failed = [], 0
    for file in files:
        try:
            items.append(gallery.item(file, path.parent))
        except InputError as error:
            failed += 1
            streams.tell(f"error: {printable(str(error))}")
    if not items:
        raise InputError(f"there is no image below {', '.join(map(str, folders))}")
    title = title or folders[0].absolute().name or "Images"
    whole_files.write(path, gallery.page(items, printable(title, kept="\n")).encode(), replace=True)
    with streams.results() as results:
        results.line(path)
    return ExitCode.SOME_FAILED if failed else ExitCode.OK
