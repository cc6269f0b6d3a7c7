"""Where exceptions become one sentence on stderr and an exit status."""

from __future__ import annotations

import logging

import click

from sdgen import backend
from sdgen.cli.terminal import streams
from sdgen.errors import ExitCode, SdgenError

LOG = logging.getLogger("sdgen")
"""Shown on stderr with --verbose, tracebacks included."""


_LONGEST = 2000
"""Characters of a sentence: one that quotes a field of a damaged file may have a million."""


def explain(error: Exception) -> tuple[str, ExitCode]:
    """What went wrong, in one line, and the exit status for it. An unforeseen error's traceback is logged."""
    if isinstance(error, SdgenError):
        return _line(str(error)), error.exit_code
    if type(error) is click.BadParameter and isinstance(error.param, click.Option):
        return _line(f"{max(error.param.opts, key=len)}: {error.message}"), ExitCode.USAGE
    if isinstance(error, click.ClickException):
        return _line(error.format_message()), ExitCode.USAGE
    if isinstance(error, click.Abort):
        return "interrupted", ExitCode.INTERRUPTED
    LOG.debug("the error in full", exc_info=error)
    if backend.is_out_of_memory(error):
        return "out of memory; try a smaller --size or --batch-size", ExitCode.NONE_DRAWN
    # Only commands that have --verbose set the log up.
    hint = "; --verbose shows where" if LOG.handlers and not LOG.isEnabledFor(logging.DEBUG) else ""
    return _line(f"{type(error).__name__}: {error}{hint}"), ExitCode.NONE_DRAWN


def set_verbose(verbose: bool) -> None:
    """Show sdgen's log on stderr, or keep it quiet."""
    LOG.setLevel(logging.DEBUG if verbose else logging.CRITICAL)
    LOG.propagate = False
    if not LOG.handlers:
        LOG.addHandler(_Echo())


class _Echo(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        streams.tell(self.format(record), lines=True)


def _line(text: str) -> str:
    """One line, in which the middle of a long text is left out."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
