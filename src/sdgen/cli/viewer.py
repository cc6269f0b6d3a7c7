"""``--open``: pictures in the viewer that the desktop has for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sdgen.cli.command import Option
from sdgen.errors import InputError, OutputError

OPTION = Option(
    ["--open/--no-open"],
    "Output",
    default=False,
    help="Open what was drawn in the desktop's viewer: the sheet of --grid, else the pictures.",
)

MOST = 8
"""Pictures that are opened."""


class Viewer:
    """Opens pictures.

    Args:
        images: how many there will be; the sheet of ``--grid`` counts as one.

    Raises:
        InputError: there is no viewer here, or there will be too many pictures for it.
    """

    def __init__(self, images: int) -> None:
        self._command = _command()
        if images > MOST:
            raise InputError(
                f"--open opens up to {MOST} pictures, and these are {images}; add --grid FILE to open one "
                "sheet of them",
                "open",
            )

    def __call__(self, paths: Sequence[Path]) -> None:
        """Open pictures; nothing is waited for.

        Raises:
            OutputError: the viewer cannot be started.
        """
        for path in paths:
            try:
                subprocess.Popen(
                    # A name that begins with a dash is no option.
                    [*self._command, os.path.abspath(path)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                raise OutputError(
                    f"{path} is there and cannot be opened: {self._command[0]}: {error.strerror}"
                ) from None


def _command() -> list[str]:
    """What opens a file on this desktop."""
    if sys.platform == "win32":
        return ["explorer"]
    names = ("open",) if sys.platform == "darwin" else ("xdg-open", "wslview")
    here = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not here:
        raise InputError("--open: there is no desktop here (DISPLAY is not set); leave --open out", "open")
    for name in names:
        if (found := shutil.which(name)) is not None:
            return [found]
    missing = " or ".join(names)
    raise InputError(
        f"--open: there is no viewer here ({missing}); install xdg-utils, or leave --open out", "open"
    )
