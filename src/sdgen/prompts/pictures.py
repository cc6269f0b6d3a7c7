"""Many pictures to edit: those of a folder or a pattern, each with the caption that lies beside it."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdgen.errors import InputError
from sdgen.files.user_files import read_regular
from sdgen.prompts.entries import Line, Problem
from sdgen.request import MAX_PROMPT, RANDOM_SEED, Picture, Request
from sdgen.request.pictures import read_picture
from sdgen.text.plurals import counted
from sdgen.text.printable import printable

ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff"),
    *(".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
)
"""The endings of the files in a folder that are taken for pictures."""

MOST_PICTURES = 100_000
"""The most pictures of one folder or pattern."""

MOST_NAMED = 5
"""Files that one message names."""

CAPTION = ".txt"
"""Ending of a picture's caption, beside the same name."""

_MOST_CAPTION_BYTES = 4 * (MAX_PROMPT + 2)
"""UTF-8 of the longest prompt, a byte order mark and a line end."""


def are_several(source: str) -> bool:
    """Whether this names pictures by a folder or a pattern, rather than one by its file."""
    return os.path.isdir(source) or (not os.path.lexists(source) and glob.has_magic(source))


def find(source: str) -> list[str]:
    """The picture files of a folder, or those that a pattern matches, by name.

    Of a folder, hidden files and folders in it are left out; ``**`` of a pattern goes into folders.

    Raises:
        InputError: there are none, or more than ``MOST_PICTURES``, or the folder cannot be listed.
    """
    shown = printable(source)
    if os.path.isdir(source):
        try:
            with os.scandir(source) as entries:
                names = (entry.name for entry in entries if not entry.name.startswith("."))
                names = (name for name in names if name.lower().endswith(ENDINGS))
                files = [os.path.join(source, name) for name in itertools.islice(names, MOST_PICTURES + 1)]
        except OSError as error:
            raise InputError(f"{shown} cannot be listed: {error.strerror}") from None
        found = [file for file in files if not os.path.isdir(file)]
        nothing = f"there is no picture in {shown} (*{', *'.join(ENDINGS)})"
    else:
        matches = (file for file in glob.iglob(source, recursive=True) if file.lower().endswith(ENDINGS))
        found = [file for file in itertools.islice(matches, MOST_PICTURES + 1) if not os.path.isdir(file)]
        nothing = f"no picture matches {shown}"
    if not found:
        raise InputError(f"{nothing}; name a picture, a folder of them or a pattern such as 'in/*.png'")
    if len(found) > MOST_PICTURES:
        raise InputError(f"{shown} has more than {MOST_PICTURES:,} pictures; name a part of them")
    return sorted(found)


def read(files: Sequence[str], field: str) -> tuple[Picture, ...]:
    """The pictures of files.

    Raises:
        InputError: some cannot be read; the first is explained, and the others are counted.
    """
    found: list[Picture] = []
    wrong: list[InputError] = []
    for file in files:
        try:
            found.append(read_picture(file, field))
        except InputError as error:
            wrong.append(error)
    if wrong:
        others = f"; {len(wrong) - 1} more of {len(files)} cannot be read" if len(wrong) > 1 else ""
        raise InputError(f"{wrong[0]}{others}", field)
    return tuple(found)


def caption(picture: Picture) -> str | None:
    """What the text file beside a picture says, ``photo.txt`` of ``photo.jpg``; None where there is none.

    Raises:
        InputError: it is no text of a prompt's length.
    """
    if picture.file is None:
        return None
    path = Path(picture.file).with_suffix(CAPTION)
    shown = f"the caption {printable(str(path))}"
    try:
        text = read_regular(path, _MOST_CAPTION_BYTES).decode("utf-8-sig").strip()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise InputError(f"{shown} is not UTF-8 text; save it as UTF-8", "prompt") from None
    except OSError as error:
        raise InputError(f"{shown} cannot be read: {error.strerror}", "prompt") from None
    if not text:
        raise InputError(f"{shown} is empty; say in it what the picture is to show", "prompt")
    return text


def captions(pictures: Sequence[Picture], prompts: Sequence[str]) -> list[list[str]]:
    """The prompts that each picture is drawn with: its caption, or ``prompts`` where it has none.

    Raises:
        InputError: there is neither, for which the first pictures are named; or a caption is unusable.
    """
    found = [[text] if (text := caption(picture)) is not None else list(prompts) for picture in pictures]
    without = [picture.file or "" for picture, texts in zip(pictures, found, strict=True) if not texts]
    if without:
        named = ", ".join(printable(file) for file in without[:MOST_NAMED])
        more = f" and {len(without) - MOST_NAMED:,} more" if len(without) > MOST_NAMED else ""
        raise InputError(
            f"there is no prompt for {counted(len(without), 'picture')} of {len(pictures):,}: {named}{more}; "
            f"give one, or write it into a {CAPTION} file of the picture's name",
            "prompt",
        )
    return found


def lines(
    pictures: Sequence[Picture],
    defaults: Mapping[str, Any],
    takes_prompts: Callable[[str | None], bool] = lambda model: True,
) -> Iterator[Line]:
    """An entry for each picture, of its caption, as a prompts file would have it.

    Args:
        pictures: they have files.
        defaults: fields of ``Request`` for all of them; the seed may be ``RANDOM_SEED``.
        takes_prompts: whether a model does; without one, a caption need not be there.
    """
    chance = defaults.get("seed") == RANDOM_SEED
    fields = {name: value for name, value in defaults.items() if name != "seed" or not chance}
    for picture in pictures:
        file = printable(picture.file or "")
        try:
            text = caption(picture)
            if text is None and not takes_prompts(defaults.get("model")):
                text = ""
            if text is None:
                beside = printable(str(Path(picture.file or "").with_suffix(CAPTION)))
                raise InputError(
                    f"there is no prompt for it; write {beside}, or give a prompts file", "prompt"
                )
            request = Request(**{**fields, "prompt": text, "init_image": picture})
            yield Line(file, 1, request, random_seed=chance)
        except InputError as error:
            yield Line(file, 1, None, None, (Problem(file, 1, error.field, str(error)),))
