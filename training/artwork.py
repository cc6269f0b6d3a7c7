"""The drawings of the data set: the npm packages they are in, and how one becomes a 256 x 256 picture."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE, LONGEST_SIDE, QUALITY = 256, 225, 95


@dataclasses.dataclass(frozen=True)
class Source:
    """An npm package of drawings in one style."""

    folder: str
    package: str
    version: str
    style: str
    licence: str
    attribution: str
    rendered: int = 576  # width, in pixels, to which an SVG is rendered before it is cropped and scaled


SOURCES = (
    Source(
        "f3d",
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "3d render",
        "MIT",
        "Fluent Emoji 3D, (c) Microsoft Corporation; repackaged by LobeHub",
    ),
    Source(
        "fcol",
        "@iconify-json/fluent-emoji",
        "1.2.7",
        "glossy gradient",
        "MIT",
        "Fluent Emoji Color, (c) Microsoft Corporation",
        rendered=448,
    ),
    Source(
        "fflat",
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "flat vector",
        "MIT",
        "Fluent Emoji Flat, (c) Microsoft Corporation",
    ),
    Source("noto", "@iconify-json/noto", "1.2.9", "noto", "Apache-2.0", "Noto Emoji, (c) Google Inc."),
    Source(
        "noto1",
        "@iconify-json/noto-v1",
        "1.2.5",
        "noto blob",
        "Apache-2.0",
        "Noto Emoji v1 (blobs), (c) Google Inc.",
    ),
    Source(
        "twem",
        "@iconify-json/twemoji",
        "1.2.5",
        "twemoji",
        "CC-BY-4.0",
        "Twemoji, (c) Twitter, Inc and other contributors",
    ),
    Source(
        "fx",
        "@iconify-json/fxemoji",
        "1.2.2",
        "fxemoji",
        "CC-BY-4.0 (art; iconify info.json says Apache-2.0, which upstream gives to its code)",
        "FxEmojis, (c) 2015 Mozilla Foundation",
    ),
)

Drawing = str | bytes
"""An SVG document, or an encoded raster picture."""


def unpack(package: str, version: str, downloads: Path) -> tarfile.TarFile:
    """Opens an npm package, which ``npm pack`` downloads on first use."""
    file = downloads / f"{package.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not file.exists():
        downloads.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", f"{package}@{version}", "--silent"]
        subprocess.run(command, cwd=downloads, check=True, stdout=subprocess.DEVNULL)
    return tarfile.open(file)


def read_json(package: tarfile.TarFile, path: str) -> Any:
    """Parses one file of a package."""
    stream = package.extractfile(f"package/{path}")
    assert stream is not None, path
    return json.load(stream)


def without_selector(hexcode: str) -> str:
    """A hexcode in lower case without variation selectors, on which the packages disagree."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def squeezed(name: str) -> str:
    """Letters and digits only, in lower case: how fxemoji names its files."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


class IconSet:
    """An Iconify package: SVG bodies by name, and names by hexcode."""

    def __init__(self, package: tarfile.TarFile) -> None:
        self._data = read_json(package, "icons.json")
        self.name_of: dict[str, str] = {}
        if "package/chars.json" in package.getnames():
            chars = read_json(package, "chars.json")
            self.name_of = {without_selector(code): name for code, name in chars.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._data["icons"]

    def svg(self, name: str, depth: int = 0) -> str | None:
        """The document of a name or of what it is an alias of; None without one, or for a mirror image."""
        if icon := self._data["icons"].get(name):
            width = icon.get("width", self._data.get("width", 16))
            height = icon.get("height", self._data.get("height", 16))
            box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
            return (
                '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                f'viewBox="{box}" width="{width}" height="{height}">{icon["body"]}</svg>'
            )
        alias = self._data.get("aliases", {}).get(name)
        if alias is None or depth == 4 or alias.keys() & {"hFlip", "vFlip", "rotate"}:
            return None
        return self.svg(alias["parent"], depth + 1)


def rasters_by_hexcode(package: tarfile.TarFile) -> Callable[[str], bytes | None]:
    """Looks up the WebP files of the 3D package."""
    files = {
        without_selector(Path(member.name).stem): member
        for member in package.getmembers()
        if member.name.endswith(".webp")
    }
    # Version 1.1.0 has the files of the medium-light and the medium skin tone swapped.
    swapped = {"1f3fc": "1f3fd", "1f3fd": "1f3fc"}

    def find(hexcode: str) -> bytes | None:
        code = "-".join(swapped.get(part, part) for part in without_selector(hexcode).split("-"))
        stream = package.extractfile(files[code]) if code in files else None
        return stream.read() if stream else None

    return find


def render(drawing: Drawing, width: int) -> Image.Image | None:
    """Crops a drawing to what is visible and centres it on white; None if next to nothing is visible."""
    if isinstance(drawing, str):
        import resvg_py

        drawing = bytes(resvg_py.svg_to_bytes(svg_string=drawing, width=width, skip_system_fonts=True))
    image = Image.open(io.BytesIO(drawing)).convert("RGBA")
    rows, columns = np.where(np.asarray(image)[..., 3] > 8)
    if len(rows) < 50:
        return None
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    visible = np.asarray(image.crop(box)).astype(np.float32)
    alpha = visible[..., 3:] / 255
    margin = 8  # so that the filter sees a clean edge
    rgb = np.pad(
        visible[..., :3] * alpha + 255 * (1 - alpha),
        ((margin, margin), (margin, margin), (0, 0)),
        constant_values=255,
    )
    scale = LONGEST_SIDE / (max(rgb.shape[:2]) - 2 * margin)
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    scaled = Image.fromarray(rgb.round().astype(np.uint8)).resize(size, Image.Resampling.LANCZOS)
    picture = Image.new("RGB", (SIZE, SIZE), (255, 255, 255))
    picture.paste(scaled, ((SIZE - size[0]) // 2, (SIZE - size[1]) // 2))
    ink = 255 - np.asarray(picture).min(axis=2).astype(int)
    blank = (ink > 16).mean() < 0.012 or np.percentile(ink, 99.5) < 28
    return None if blank else picture


def encode(picture: Image.Image) -> bytes:
    """As WebP."""
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=QUALITY, method=5, use_sharp_yuv=True)
    return stream.getvalue()
