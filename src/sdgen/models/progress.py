"""What a download tells its caller as it goes."""

from __future__ import annotations


class Progress:
    """Told how far a download is; does nothing. The command's subclass draws a bar."""

    def begin(self, name: str, total: int | None, done: int) -> None:
        """A file's transfer starts: ``done`` of ``total`` bytes are here already."""

    def move(self, done: int) -> None:
        """``done`` bytes of the current file are here; the number falls when a server starts over."""

    def end(self) -> None:
        """The current file's transfer is over, whether or not it succeeded."""

    def note(self, text: str) -> None:
        """Tells the user of a wait, another mirror, or a file found elsewhere."""


def size_text(count: int) -> str:
    """A number of bytes in words: ``5.2 GB``, ``137 MB``, ``12 kB``, ``800 bytes``."""
    for unit, scale, digits in (("GB", 10**9, 1), ("MB", 10**6, 0), ("kB", 10**3, 0)):
        if count >= 0.9995 * scale:
            return f"{count / scale:.{digits}f} {unit}"
    return f"{count} bytes"
