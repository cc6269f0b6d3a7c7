"""What ``sdgen compare`` writes: the sheet, and the figures beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sdgen.batch.trial import Result, Trial
from sdgen.cli.compare_methods import Method
from sdgen.errors import InputError, OutputError
from sdgen.files import whole_files
from sdgen.files.version import VERSION
from sdgen.images import ai_mark, contact_sheet, image_files, methods_sheet, sheet_layout
from sdgen.images.image_and_sidecar import place_pair, waiting_for
from sdgen.images.methods_sheet import Panel, Row

SCHEMA = "sdgen-comparison-1"
"""Says what the file of figures holds."""

Results = Mapping[tuple[Path, str], Result]
"""What there is, by the picture's file and the method's name."""


def path_of(target: str) -> Path:
    """The sheet's path, where nothing may be yet.

    Raises:
        InputError: it is no image file's name.
        OutputError: it, or the file of its figures, is there, or its folder cannot be made or written.
    """
    path = Path(target).expanduser()
    if not image_files.is_file_name(str(path)):
        raise InputError(f"-o {target} is a folder; name an image file, such as sheet.png", "output")
    for file in (path, path.with_suffix(".json")):
        if file.is_symlink() or file.exists():
            raise OutputError(f"{file} is already there and is not overwritten; give another name with -o")
    with whole_files.explained(path.parent):
        whole_files.make_folder(path.parent)
    return path


def write(
    path: Path, trials: Sequence[Trial], methods: Sequence[Method], results: Results, mark: bool
) -> None:
    """Write the sheet and the figures, both or neither.

    Args:
        path: of the sheet.
        trials, methods: its rows and columns.
        results: what there is.
        mark: whether the sheet says that AI made a part of it.

    Raises:
        OutputError: they cannot be written.
    """
    sheet = methods_sheet.draw([_row(trial, methods, results) for trial in trials])
    drawn = {method.name for method in methods if method.draws}
    made = any(result.crop is not None and result.method in drawn for result in results.values())
    made = made or any(sheet_layout.entry(trial.file).drawn for trial in trials)
    source_type = ai_mark.COMPOSITE if mark and made else None
    data = contact_sheet.encode(sheet, image_files.format_of(path.name), source_type)
    figures = json.dumps(_figures(path, trials, methods, results), indent=1).encode() + b"\n"
    temporary = whole_files.temporary(path.parent)
    with whole_files.explained(path.parent):
        try:
            place_pair(path, data, figures, temporary)
        finally:
            temporary.unlink(missing_ok=True)
            waiting_for(temporary).unlink(missing_ok=True)


def _row(trial: Trial, methods: Sequence[Method], results: Results) -> Row:
    panels = []
    original = trial.original()
    if original is not None:
        panels.append(Panel("original", (), trial.place.of(original)))
    panels += [_panel(method.name, results.get((trial.file, method.name))) for method in methods]
    return Row(trial.file.name, trial.whole, trial.size, trial.place, panels)


def _panel(name: str, result: Result | None) -> Panel:
    if result is None or result.crop is None:
        return Panel(name, ["not drawn" if result is None else "failed"], None)
    figures = []
    if result.psnr is not None:
        figures.append("the original" if math.isinf(result.psnr) else f"{result.psnr:.2f} dB")
    if result.ssim is not None:
        figures.append(f"SSIM {result.ssim:.4f}")
    return Panel(name, figures, result.crop)


def _figures(
    path: Path, trials: Sequence[Trial], methods: Sequence[Method], results: Results
) -> dict[str, Any]:
    """What the sheet shows, in figures, and how it came to be."""
    pictures = []
    for trial in trials:
        found = [
            results[trial.file, method.name] for method in methods if (trial.file, method.name) in results
        ]
        pictures.append(
            {
                "picture": trial.picture.to_dict(),
                "reference": None if trial.reference is None else trial.reference.to_dict(),
                "crop": [trial.place.x, trial.place.y, trial.place.side],
                "results": [{**result.to_dict(), "settings": result.settings} for result in found],
            }
        )
    return {
        "schema": SCHEMA,
        "sdgen": VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "sheet": path.name,
        "scale": trials[0].scale,
        "shrunk": trials[0].shrinks,
        "methods": [method.name for method in methods],
        "pictures": pictures,
    }
