"""The picture that an image was started from, found again by what it shows."""

from __future__ import annotations

import os
from pathlib import Path

from sdgen.errors import InputError
from sdgen.request import Picture
from sdgen.request.pictures import read_picture


def find(record: Path, picture: Picture, name: str) -> Picture:
    """A recorded picture with its file, which is where it was or lies beside the record.

    Args:
        record: the sidecar or image that tells of it.
        picture: as it is recorded.
        name: of the request's field, for messages.

    Raises:
        InputError: it is not there, or what is there shows something else.
    """
    file = picture.file
    places = () if file is None else (Path(file), record.parent / file, record.parent / Path(file).name)
    there = [read_picture(place, name) for place in dict.fromkeys(places) if os.path.exists(place)]
    for found in there:
        if found == picture:
            return found
    what = f"shows another picture than {record} was drawn from" if there else "is not there"
    raise InputError(f"{record}: {name} {file or 'a picture from the memory of a program'} {what}", name)
