"""What can go wrong, and the exit status that the command gives for it.

Every message is one plain sentence that says what is wrong, where, and what to do.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit statuses of the ``sdgen`` command."""

    OK = 0
    """Every image was drawn."""
    NONE_DRAWN = 1
    """No image was drawn."""
    USAGE = 2
    """The command line or an input file is wrong; nothing was started."""
    SOME_FAILED = 3
    """Some images were drawn and some were not."""
    UNAVAILABLE = 4
    """A model or its weights are not available or not usable."""
    INTERRUPTED = 130
    """Stopped by SIGINT (Ctrl-C)."""
    TERMINATED = 143
    """Stopped by SIGTERM."""


class SdgenError(Exception):
    """Base of every error that sdgen raises for its caller to show."""

    exit_code = ExitCode.NONE_DRAWN


class InputError(SdgenError):
    """A request, option or input file is wrong. ``field`` names the culprit where one is known."""

    exit_code = ExitCode.USAGE

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ModelUnavailable(SdgenError):
    """A model is unknown, or its weights are not on this machine and cannot be fetched."""

    exit_code = ExitCode.UNAVAILABLE


class CheckpointError(SdgenError):
    """Weights were found but cannot be used: truncated, altered, of wrong shape or unknown layout."""

    exit_code = ExitCode.UNAVAILABLE


class BackendError(SdgenError):
    """The numerical backend, device or dtype that was asked for is not usable here."""

    exit_code = ExitCode.USAGE


class OutputError(SdgenError):
    """A finished image cannot be stored: folder not writable, disk full, file already there."""


class ImageError(SdgenError):
    """One image came out unusable (non-finite latents, constant pixels); others may be fine."""
