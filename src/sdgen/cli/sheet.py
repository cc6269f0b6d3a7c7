"""``--grid FILE``: a contact sheet of what a run has drawn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sdgen.batch.outcomes import KEPT, Outcome
from sdgen.errors import InputError, OutputError
from sdgen.files import whole_files
from sdgen.images import ai_mark, contact_sheet, image_files, pictures, sheet_layout


class Sheet:
    """Gathers the images of a run.

    Args:
        target: the sheet's file.
        images: how many there will be; None for a stream.
        swept: fields that take several values.
        replace: whether an earlier sheet gives way; no other file does.
        metadata: whether the sheet says that its images were made by AI.

    Attributes:
        path: the sheet's file.
        written: whether it is there.

    Raises:
        InputError: it is no image file's name, or there will be too many images.
        OutputError: the file is there already, or its folder cannot be made or written.
    """

    def __init__(
        self,
        target: str,
        images: int | None,
        swept: Sequence[str] = (),
        replace: bool = False,
        metadata: bool = True,
    ) -> None:
        self.path = Path(target).expanduser()
        self._swept, self._replace = swept, replace
        self._source_type = ai_mark.GENERATED if metadata else None
        self.written = False
        self._entries: dict[int, sheet_layout.Entry] = {}
        if not image_files.is_file_name(str(self.path), "--grid"):
            raise InputError(f"--grid {target} is a folder; name an image file, such as sheet.png", "grid")
        if images is not None and images > sheet_layout.MOST_IMAGES:
            raise InputError(
                f"--grid takes up to {sheet_layout.MOST_IMAGES} images, and these are {images}", "grid"
            )
        if os.path.exists(self.path) and not (replace and pictures.is_sheet(self.path)):
            raise OutputError(
                f"{self.path} is already there and is not overwritten; give --grid another name"
            )
        with whole_files.explained(self.path.parent, "--grid"):
            whole_files.make_folder(self.path.parent)

    def add(self, outcome: Outcome) -> None:
        """Take an image, if there is one."""
        if outcome.saved is None or len(self._entries) > sheet_layout.MOST_IMAGES:
            return
        request, path = outcome.request, outcome.saved.path
        known = {**request.to_dict(), "size": f"{request.width}x{request.height}", "file": path.name}
        if outcome.status == KEPT:  # Without a model, the request lacks what a record has.
            known |= sheet_layout.entry(path).values
        self._entries[outcome.task.number] = sheet_layout.Entry(path, known)

    def write(self) -> None:
        """Draw the sheet, if there is an image.

        Raises:
            InputError: an image cannot be read, or there are too many.
            OutputError: the file cannot be written.
        """
        entries = [entry for _, entry in sorted(self._entries.items())]
        if entries:
            sheet = contact_sheet.draw_fitting(
                sheet_layout.arrange(entries, *sheet_layout.axes(entries, self._swept))
            )
            data = contact_sheet.encode(sheet, image_files.format_of(self.path.name), self._source_type)
            # Another file may have come since the run began.
            replace = self._replace and pictures.is_sheet(self.path)
            whole_files.write(self.path, data, replace, "--grid")
            self.written = True
