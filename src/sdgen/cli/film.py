"""``--animate FILE``: one animation of what a run has drawn, a frame a picture."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sdgen.batch.outcomes import Outcome
from sdgen.errors import InputError, OutputError
from sdgen.files import whole_files
from sdgen.images import animation, pictures

if TYPE_CHECKING:
    from sdgen.images.image import Pixels

RATE = 10.0
"""Frames a second."""


class Film:
    """Gathers the pictures of a run.

    Args:
        target: the animation's file.
        images: how many there will be; None for a stream.
        rate: frames a second.
        replace: whether an earlier animation of sdgen's gives way; no other file does.
        metadata: whether the file says that AI made it.

    Attributes:
        path: the animation's file.
        written: whether it is there.

    Raises:
        InputError: its name has another ending, or there will be too many frames.
        OutputError: the file is there already, or its folder cannot be made or written.
    """

    def __init__(
        self,
        target: str,
        images: int | None,
        rate: float = RATE,
        replace: bool = False,
        metadata: bool = True,
    ) -> None:
        self.path = Path(target).expanduser()
        self._format = animation.format_of(target, "--animate")
        if self._format == "strip":
            raise InputError(
                f"--animate {target}: end the name in .gif, .webp or .apng, or use --grid for one picture",
                "animate",
            )
        if images is not None and images > animation.MOST_FRAMES:
            raise InputError(
                f"--animate takes up to {animation.MOST_FRAMES} pictures, and these are {images}", "animate"
            )
        self._rate, self._replace, self._metadata = rate, replace, metadata
        self.written = False
        self._frames: dict[int, Path] = {}
        if os.path.lexists(self.path) and not self._gives_way():
            raise OutputError(
                f"{self.path} is already there and is not overwritten; give --animate another name"
            )
        with whole_files.explained(self.path.parent, "--animate"):
            whole_files.make_folder(self.path.parent)

    def add(self, outcome: Outcome) -> None:
        """Take an image's picture, if it has one."""
        if outcome.saved is not None and len(self._frames) <= animation.MOST_FRAMES:
            self._frames[outcome.task.number] = outcome.saved.path

    def write(self) -> None:
        """Write the animation, in the order in which the pictures were asked for, if there is one.

        Raises:
            InputError: a picture cannot be read, or there are too many.
            OutputError: the file cannot be written.
        """
        if self._frames:
            frames = StoredFrames([path for _, path in sorted(self._frames.items())])
            seconds = (len(frames) - 1) / self._rate
            data = animation.encode(
                frames, self._format, seconds=seconds, hold=1 / self._rate, mark=self._metadata
            )
            # Another file may have come since the run began.
            whole_files.write(self.path, data, self._gives_way(), "--animate")
            self.written = True

    def _gives_way(self) -> bool:
        return self._replace and pictures.is_record(self.path)


class StoredFrames(Collection["Pixels"]):
    """Pictures as frames, each read when its turn comes and made as large as the first."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __contains__(self, item: object) -> bool:
        return item in self._paths

    def __iter__(self) -> Iterator[Pixels]:
        import numpy as np
        from PIL import Image

        size = None
        for path in self._paths:
            frame = pictures.rgb(pictures.open_picture(path))
            size = size or frame.size
            yield np.asarray(frame if frame.size == size else frame.resize(size, Image.Resampling.LANCZOS))
