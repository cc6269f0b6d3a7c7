"""What is recorded about an image: the sidecar, and the text inside PNG, WebP and JPEG files."""

from __future__ import annotations

import hashlib
import io
import platform
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from importlib import metadata
from typing import TYPE_CHECKING, Any

from sdgen.files import exif
from sdgen.files.version import VERSION
from sdgen.images import a1111_text, ai_mark
from sdgen.request import FIELDS, Request

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

FORMATS: Mapping[str, str] = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
"""Image formats with the ending of their files."""

QUALITY = 95
"""The quality of WebP and JPEG, 0 to 100."""

SIDECAR_SCHEMA = "sdgen-sidecar-1"
"""Says which version of data/sidecar.schema.json a sidecar follows."""

DETAILS = (
    "weights_sha256",
    "changes",
    "engine",
    "backend",
    "device",
    "dtype",
    "low_memory",
    "compiler",
    "decoder",
    "batch_size",
    "encode_seconds",
    "denoise_seconds",
    "decode_seconds",
    "peak_memory_bytes",
)
"""What a sidecar takes from ``sdgen.Image.details`` under the same name; null where it is not known."""

HIRES_WEIGHTS = "hires_weights_sha256"
"""The same of a model that enlarged the picture between its passes; left out where none did."""

_EXIF_MOST = 65_500
"""Bytes that fit into the one segment that JPEG has for EXIF."""


def versions(names: Iterable[str]) -> dict[str, str]:
    """Installed versions of the packages among ``names`` that are installed; nothing is imported."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except (metadata.PackageNotFoundError, ValueError):  # The latter of an empty name.
            continue
    return found


def sdgen_version() -> str:
    """The version of this package."""
    return VERSION


def pixels_sha256(pixels: np.ndarray) -> str:
    """sha256 of the RGB or RGBA bytes, row by row from the top: 64 hexadecimal digits.

    Args:
        pixels: uint8 (height, width, 3), or 4 with transparency.
    """
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def sidecar(
    request: Request,
    pixels: np.ndarray,
    *,
    file_name: str,
    format: str,
    seconds: float,
    warnings: Iterable[str] = (),
    details: Mapping[str, Any] | None = None,
    created: datetime | None = None,
    job: str | None = None,
) -> dict[str, Any]:
    """What is recorded beside an image, as JSON types in the order in which it is written.

    Args:
        request: the request as it was drawn, every default filled in.
        pixels: uint8 (height, width, 3), or 4 with transparency.
        file_name: of the image, without its folder.
        format: a name of ``FORMATS``.
        seconds: time spent on the image.
        warnings: sentences about it.
        details: those of ``sdgen.Image``; the names of ``DETAILS`` are recorded.
        created: when, with a time zone; now by default.
        job: identity of the task of a batch (``sdgen.batch.batch_folder``); left out where there is none.
    """
    details = details or {}
    packages = [name for name in ("keras", "keras-cv", "numpy", details.get("backend")) if name]
    asked = request.to_dict()
    first = {name: asked.pop(name) for name, field in FIELDS.items() if field.leads}
    return {
        **first,
        **asked,
        "model_name": details.get("model"),
        **{name: _rounded(details.get(name)) for name in DETAILS},
        **({HIRES_WEIGHTS: details[HIRES_WEIGHTS]} if HIRES_WEIGHTS in details else {}),
        "versions": {
            "sdgen": sdgen_version(),
            "python": platform.python_version(),
            **versions(packages),
        },
        "created": (created or datetime.now(timezone.utc))
        .astimezone(timezone.utc)
        .isoformat(timespec="seconds"),
        "seconds": _rounded(seconds),
        "warnings": list(warnings),
        "image": file_name,
        "format": format,
        "pixels_sha256": pixels_sha256(pixels),
        **({} if job is None else {"job": job}),
        "schema": SIDECAR_SCHEMA,
    }


def encode(
    pixels: np.ndarray,
    format: str,
    request: Request | None = None,
    details: Mapping[str, Any] | None = None,
    background: str | None = None,
    quality: int | None = None,
) -> bytes:
    """The bytes of an image file.

    PNG has the text chunks ``parameters`` and ``sdgen`` (the request's canonical JSON); WebP and JPEG
    have the same in EXIF's UserComment and MakerNote. A text too long for JPEG's EXIF is left out. Each has
    the mark of ``origin``.

    Args:
        pixels: uint8 (height, width, 3), or 4 with transparency.
        format: a name of ``FORMATS``.
        request: what was drawn; None writes neither text nor mark.
        details: as for ``a1111_text.write``; ``source_type`` is another mark, or None for none, where no
            model made the picture.
        background: behind transparent pixels in JPEG, which has none; the request's by default.
        quality: of WebP and JPEG, 0 to 100; by default ``QUALITY``.
    """
    from PIL import Image

    picture = Image.fromarray(pixels)
    if format == "jpeg" and picture.mode == "RGBA":
        behind = background or (request.background if request else "white")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, behind), picture).convert("RGB")
    stream = io.BytesIO()
    options: dict[str, Any] = {}
    if request is not None:
        if format == "png":
            options["pnginfo"] = _chunks(request, details)
        elif len(fields := _exif(request, details)) <= _EXIF_MOST or format != "jpeg":
            options["exif"] = fields
        source_type = (details or {}).get("source_type", ai_mark.GENERATED)
        if source_type is not None:
            ai_mark.mark(format, options, source_type)
    if format != "png":
        options["quality"] = QUALITY if quality is None else quality
    if format == "jpeg":
        options["subsampling"] = "4:4:4"
    picture.save(stream, format.upper(), **options)
    return stream.getvalue()


def _rounded(value: Any) -> Any:
    """Seconds to the millisecond; anything else as it is."""
    return round(value, 3) if isinstance(value, float) else value


def _chunks(request: Request, details: Mapping[str, Any] | None) -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for name, text in (("parameters", a1111_text.write(request, details)), ("sdgen", request.to_json())):
        # tEXt is Latin-1 and has no NUL; whatever is not ASCII goes into an iTXt chunk, which is UTF-8.
        if text.isascii():
            info.add_text(name, text)
        else:
            info.add_itxt(name, text)
    return info


def _exif(request: Request, details: Mapping[str, Any] | None) -> bytes:
    from PIL import Image

    fields: Image.Exif = Image.Exif()
    fields[exif.SOFTWARE] = f"sdgen {sdgen_version()}"
    fields.get_ifd(exif.FOLDER).update(
        {
            exif.USER_COMMENT: b"UNICODE\0" + a1111_text.write(request, details).encode("utf-16-be"),
            exif.MAKER_NOTE: request.to_json().encode(),
        }
    )
    return fields.tobytes()
