"""Storing one image where a program says, as the command stores it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sdgen.errors import OutputError
from sdgen.images import image_files
from sdgen.images.image_and_sidecar import Saved

if TYPE_CHECKING:
    from sdgen.images.image import Image

_BESIDE_PIXELS = 65_536
"""Bytes that a file may need beyond its pixels."""


def save(image: Image, target: str, metadata: bool, overwrite: bool) -> Saved:
    """What ``sdgen.Image.save`` documents, of an image that has pixels."""
    assert image.pixels is not None
    if image_files.is_file_name(target, "path"):
        path = Path(target)
        place = image_files.Output(
            path.parent,
            format=image_files.format_of(path.name),
            metadata=metadata,
            file_name=path.name,
            overwrite=overwrite,
        )
    else:
        place = image_files.Output(Path(target), metadata=metadata)
    try:
        place.prepare(1, image.pixels.nbytes + _BESIDE_PIXELS)
        return place.save(image)
    except OutputError as error:
        raise OutputError(_for_programs(str(error))) from error.__cause__


def _for_programs(sentence: str) -> str:
    """A sentence of the command's without its options."""
    for ours, theirs in _WORDS.items():
        sentence = sentence.replace(ours, theirs)
    return sentence


_WORDS = {
    "is already there and is not overwritten; give another name with -o": (
        "is already there; give another path, or overwrite=True"
    ),
    " with -o, or --no-metadata": ", or metadata=False",
    " with -o": "",
}
