"""Builds the data set: about 8,900 emoji in seven styles, from npm packages of free drawings.

    python -m training.build_dataset emoji256.tar

The archive holds captions.jsonl (one row a picture), SOURCES.md (packages, licences, attribution) and
img/<style>/<hexcode>.webp (256 x 256, on white, the longest side 225).
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import multiprocessing
import random
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training import artwork
from training.artwork import SOURCES, Drawing, IconSet, Source
from training.progress import log

LABELS = ("emojibase-data", "17.0.0")
NEAR_DUPLICATE = 2.5  # root mean square difference, of 255, at 48 x 48
TONES = {"1": "light", "3": "medium", "5": "dark"}

_LISTS = json.loads((Path(__file__).parent / "selection.json").read_text(encoding="utf-8"))
TONED, FAMILIES, SYMBOLS, DROPPED, SLANG = (
    set(_LISTS[name]) for name in ("in three skin tones", "families", "symbols", "dropped", "slang")
)
"""Labels taken in three skin tones; the only families and symbols taken; labels and tags that are not."""

UNUSABLE = {("fx", "fog"), ("fx", "tram car"), ("fx", "kiss")}
"""By looking at them: nearly invisible, a black blob, another subject."""

_NAMED_LIKE = {"fcol": "fflat", "noto1": "noto"}  # icon sets without an index, and whose names they use
_PEOPLE_AT = {"person-gesture", "person-activity", "person-sport", "person-resting", "person-fantasy"}


@dataclasses.dataclass(frozen=True)
class Glyph:
    """One emoji, whoever draws it."""

    hexcode: str
    cldr: str
    label: str
    tags: tuple[str, ...]
    group: str
    subgroup: str
    skin_tone: str | None = None


@dataclasses.dataclass(frozen=True)
class Picture:
    """One emoji in one style."""

    source: Source
    glyph: Glyph
    webp: bytes
    small: np.ndarray  # 48 x 48, by which near duplicates are found


def _spoken_label(label: str) -> str:
    whole, separator, detail = label.partition(": ")
    if not separator:
        return label
    return {"bald": f"bald {whole}", "beard": f"{whole} with a beard"}.get(detail, f"{whole} with {detail}")


def _wanted(label: str, codes: list[str], group: str, subgroup: str, labels: set[str]) -> bool:
    """Leaves out country flags, most signs, and variants that look the same."""
    if group == "component" or (group == "flags" and subgroup != "flag") or label in DROPPED:
        return False
    if group == "symbols" and subgroup not in ("geometric", "warning") and label not in SYMBOLS:
        return False
    if subgroup == "geometric" and re.search(r"\b(small|medium)", label):
        return False
    if (subgroup == "family" and label not in FAMILIES) or "facing right" in label:
        return False
    if subgroup in _PEOPLE_AT:
        last = [code for code in codes if code != "FE0F"][-1]
        gendered = "200D" in codes and last in ("2640", "2642") and label not in ("merman", "mermaid")
        words = label.split(" ", 1)
        return not (gendered or (words[0] in ("man", "woman") and f"person {words[-1]}" in labels))
    return True


def glyphs(downloads: Path) -> tuple[list[Glyph], dict[str, str]]:
    """The emoji to draw, and Unicode's names by hexcode."""
    package = artwork.unpack(*LABELS, downloads)
    entries = artwork.read_json(package, "en/data.json")
    order = artwork.read_json(package, "meta/groups.json")
    labels = {entry["label"] for entry in entries}
    chosen: list[Glyph] = []
    for entry in entries:
        if "group" not in entry:
            continue
        label, code = entry["label"], entry["hexcode"]
        group = order["groups"][str(entry["group"])]
        subgroup = order["subgroups"][str(entry["subgroup"])]
        if not _wanted(label, code.split("-"), group, subgroup, labels):
            continue
        tags = tuple(
            tag
            for tag in entry.get("tags", [])
            if tag.lower() not in SLANG | {label.lower()} and not re.search(r"[^a-zA-Z \-’'éñ]", tag)
        )
        glyph = Glyph(code, label, _spoken_label(label), tags, group, subgroup)
        chosen.append(glyph)
        for skin in entry.get("skins", []) if label in TONED else []:
            if tone := TONES.get(str(skin["tone"])):
                named = f"{glyph.label}, {tone} skin tone"
                chosen.append(
                    dataclasses.replace(glyph, hexcode=skin["hexcode"], label=named, skin_tone=tone)
                )
    return chosen, artwork.read_json(package, "meta/unicode-names.json")


def _icon_name(source: Source, glyph: Glyph, icons: IconSet, unicode_names: dict[str, str]) -> str | None:
    """Under which name an icon set has an emoji; fxemoji has no index, but names that resemble Unicode's."""
    if source.folder != "fx":
        return icons.name_of.get(artwork.without_selector(glyph.hexcode))
    if glyph.skin_tone:
        return None
    code = glyph.hexcode
    unicode_name = unicode_names.get(code.replace("-FE0F", "")) or unicode_names.get(code) or ""
    names = (artwork.squeezed(glyph.cldr), artwork.squeezed(unicode_name))
    return next((name for name in names if name and name in icons), None)


def drawings(downloads: Path) -> Iterator[tuple[Source, Glyph, Drawing]]:
    """Every drawing that a package has of an emoji."""
    chosen, unicode_names = glyphs(downloads)
    packages = {
        source.folder: artwork.unpack(source.package, source.version, downloads) for source in SOURCES
    }
    for source in SOURCES:
        if source.folder == "f3d":
            find = artwork.rasters_by_hexcode(packages["f3d"])
            for glyph in chosen:
                if (raster := find(glyph.hexcode)) is not None:
                    yield source, glyph, raster
            continue
        icons = IconSet(packages[source.folder])
        if not icons.name_of and source.folder in _NAMED_LIKE:
            icons.name_of = IconSet(packages[_NAMED_LIKE[source.folder]]).name_of
        for glyph in chosen:
            name = _icon_name(source, glyph, icons, unicode_names)
            svg = icons.svg(name) if name else None
            if svg and (source.folder, glyph.cldr) not in UNUSABLE:
                yield source, glyph, svg


def _picture(drawing: tuple[Source, Glyph, Drawing]) -> Picture | None:
    source, glyph, content = drawing
    picture = artwork.render(content, source.rendered)
    if picture is None:
        return None
    small = np.asarray(picture.resize((48, 48), Image.Resampling.BOX)).astype(np.int16)
    return Picture(source, glyph, artwork.encode(picture), small)


def without_near_duplicates(pictures: list[Picture]) -> list[Picture]:
    """Of pictures in one style that look the same, keeps that with the shortest hexcode: the neutral form."""
    pictures = sorted(pictures, key=lambda picture: len(picture.glyph.hexcode))
    kept: list[Picture] = []
    pixels = np.empty((len(pictures), 48 * 48 * 3), np.float32)
    for picture in pictures:
        flat = picture.small.reshape(-1).astype(np.float32)
        differences = np.sqrt(np.square(pixels[: len(kept)] - flat).mean(1))
        if not (differences < NEAR_DUPLICATE).any():
            pixels[len(kept)] = flat
            kept.append(picture)
    return kept


def sources_text() -> str:
    """SOURCES.md: every package with its licence and attribution."""
    changed = "Changed: rasterised, cropped, centred on white, WebP."
    lines = [
        f'- style "{source.style}" (img/{source.folder}/): npm {source.package}@{source.version}, '
        f"licence {source.licence}; {source.attribution}. {changed}"
        for source in SOURCES
    ]
    lines.append(
        f"- labels, tags, groups: npm {'@'.join(LABELS)} (MIT, (c) Miles Johnson), built on Unicode CLDR "
        "(Unicode License v3). Changed: some labels reworded, slang tags removed."
    )
    return "# Sources\n\n" + "\n".join(lines) + "\n"


def _row(number: int, picture: Picture) -> dict[str, Any]:
    source, glyph = picture.source, picture.glyph
    return {
        "id": number,
        "file": f"img/{source.folder}/{glyph.hexcode.lower()}.webp",
        "style": source.style,
        "label": glyph.label,
        "tags": glyph.tags,
        "group": glyph.group,
        "subgroup": glyph.subgroup,
        "hexcode": glyph.hexcode,
        "skin_tone": glyph.skin_tone,
        "source": source.package,
        "licence": source.licence.split(" ")[0],
    }


def write(pictures: list[Picture], out: Path) -> None:
    """Writes the archive; the same pictures give the same bytes."""
    rows = [_row(number, picture) for number, picture in enumerate(pictures)]
    captions = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    contents = {"SOURCES.md": sources_text().encode(), "captions.jsonl": captions.encode()}
    contents |= {row["file"]: picture.webp for row, picture in zip(rows, pictures, strict=True)}
    part = out.with_suffix(".part")
    with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    part.replace(out)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the archive to write")
    parser.add_argument("--downloads", type=Path, default=Path("npm"), help="where npm packages are kept")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--limit", type=int, default=0, help="draw only so many, chosen at random")
    arguments = parser.parse_args()
    jobs = list(drawings(arguments.downloads))
    log("data", drawings=len(jobs))
    if arguments.limit:
        jobs = random.Random(0).sample(jobs, arguments.limit)
    with multiprocessing.Pool(arguments.processes) as pool:
        drawn = [picture for picture in pool.imap(_picture, jobs, chunksize=16) if picture is not None]
    place = {glyph.hexcode: k for k, glyph in enumerate(glyphs(arguments.downloads)[0])}
    kept: list[Picture] = []
    for source in SOURCES:
        own = without_near_duplicates([picture for picture in drawn if picture.source == source])
        kept += sorted(own, key=lambda picture: place[picture.glyph.hexcode])
    write(kept, arguments.out)
    log("data", blank=len(jobs) - len(drawn), near_duplicates=len(drawn) - len(kept), pictures=len(kept))


if __name__ == "__main__":
    main()
