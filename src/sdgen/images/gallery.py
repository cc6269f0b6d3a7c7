"""A folder of images as one web page that needs nothing else: thumbnails, search, filters, commands.

The page runs from ``file://`` and from a server. Everything in it that comes from images is text in a JSON
block, which the script puts on the page as text; the content security policy allows the page's own style and
script by their digests, pictures, and nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import io
import os
import string
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sdgen.errors import InputError, OutputError
from sdgen.files import json_text
from sdgen.images import metadata, pictures, records, started_from
from sdgen.request import FIELDS
from sdgen.request.fields import text_of

if TYPE_CHECKING:
    from PIL import Image

MOST_IMAGES = 10_000
"""The most images on one page, whose thumbnails make it about 80 MB."""

MARK = '<meta name="generator" content="sdgen gallery">'
"""Is in every page, so that a page may be replaced by a newer one, and no other file is."""

_THUMBNAIL = 320
_QUALITY = 70
_FIRST = ("negative_prompt", "seed", "steps", "guidance", "sampler", "schedule", "size", "model")
"""What comes first; the other fields follow in their order."""


def item(path: Path, folder: Path) -> dict[str, Any]:
    """What the page knows of one image, as JSON types.

    Args:
        path: the image.
        folder: where the page will be; the page links to the image from there.

    Returns:
        ``name``, ``link``, ``thumbnail`` (base64 of a WebP), ``width``, ``height``, ``prompt``, ``fields``
        (name and text), ``model``, ``sampler``, ``seed`` (text: JavaScript's numbers end at 2**53),
        ``created`` (ISO 8601, or empty), ``command``, and ``before``: as ``thumbnail`` the picture that the
        image was started from, None where there is none or it is not found.

    Raises:
        InputError: the image cannot be read.
    """
    picture = pictures.open_picture(path)
    created = _modified(path)
    found: dict[str, Any] = {
        "name": _relative(path, folder),
        "link": link(path, folder),
        "width": picture.width,
        "height": picture.height,
        "created": created,
    }
    try:
        record = records.read(path, picture)
    except InputError:
        return found | {"prompt": "", "fields": [], "command": "", "thumbnail": _thumbnail(picture)}
    settings = {**record.settings, "size": f"{picture.width}x{picture.height}"}
    others = (name for name in FIELDS if name not in (*_FIRST, "prompt", "width", "height"))
    fields = [
        (name, text_of(settings[name]))
        for name in (*_FIRST, *others)
        if settings.get(name) != "" and not (name in FIELDS and FIELDS[name].is_usual(settings.get(name)))
    ]
    fields += [
        (name, text_of(record.details[name])) for name in ("dtype", "backend") if record.details.get(name)
    ]
    fields.append(("drawn by", record.tool))
    return found | {
        "prompt": settings.get("prompt", ""),
        "fields": fields,
        "model": settings.get("model"),
        "sampler": settings.get("sampler"),
        "seed": None if "seed" not in settings else str(settings["seed"]),
        "created": _time(record.details.get("created")) or created,
        "command": record.command(),
        "thumbnail": _thumbnail(picture),
        "before": _before(record),
    }


def page(items: Iterable[Mapping[str, Any]], title: str) -> str:
    """The page, as HTML in UTF-8.

    Args:
        items: as ``item`` gives them.
        title: of the page, any text.
    """
    files = resources.files("sdgen.images") / "data" / "gallery"
    template, style, script = ((files / f"gallery.{end}").read_text("utf-8") for end in ("html", "css", "js"))
    return string.Template(template).substitute(
        mark=MARK,
        policy=_policy(style, script),
        title=html.escape(title),
        style=style,
        script=script,
        items=_safe_json(list(items)),
        version=html.escape(metadata.sdgen_version()),
    )


def link(path: Path, folder: Path) -> str:
    """The relative URL of a file from a page in ``folder``, whatever bytes its name has."""
    try:
        relative = os.path.relpath(path.absolute(), folder.absolute())
    except ValueError:  # Another drive of Windows.
        return path.absolute().as_uri()
    return "./" + quote(os.fsencode(relative.replace(os.sep, "/")), safe="/")


def check_replaceable(path: Path) -> None:
    """Refuse to write a page over anything but a page.

    Raises:
        OutputError: there is another file of this name.
    """
    if not os.path.exists(path):
        return
    if path.is_file():
        with contextlib.suppress(OSError), path.open("rb") as file:
            if MARK.encode() in file.read(4096):
                return
    raise OutputError(f"{path} is there and is no gallery of sdgen; give another name with -o")


def _before(record: records.Record) -> str | None:
    """What the image was started from, if that is still to be found: it shows what was recorded."""
    try:
        picture = record.request().init_image
        if picture is None:
            return None
        pixels = started_from.find(record.file, picture, "init_image").pixels()
    except InputError:
        return None
    from PIL import Image

    return _thumbnail(Image.fromarray(pixels))


def _thumbnail(picture: Image.Image) -> str:
    stream = io.BytesIO()
    small = pictures.rgb(picture)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    small.save(stream, "WEBP", quality=_QUALITY)
    return base64.b64encode(stream.getvalue()).decode()


def _safe_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in, whatever the texts say."""
    text = json_text.write(value)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _policy(style: str, script: str) -> str:
    """``file:`` beside 'self' because browsers disagree on what the latter is for a page from a file."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; "
        "img-src 'self' file: data:; base-uri 'none'; form-action 'none'"
    )


def _relative(path: Path, folder: Path) -> str:
    """The file's name from the page's folder, as text to show."""
    try:
        shown = os.path.relpath(path.absolute(), folder.absolute())
    except ValueError:
        shown = str(path)
    return os.fsencode(shown).decode(errors="replace")


def _modified(path: Path) -> str:
    """When a file was changed; empty where its time is beyond the calendar, or it has gone."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat(timespec="seconds")
    except (OSError, ValueError, OverflowError):
        return ""


def _time(value: Any) -> str | None:
    try:
        return datetime.fromisoformat(value).astimezone(timezone.utc).isoformat(timespec="seconds")
    except (TypeError, ValueError, OverflowError):
        return None
