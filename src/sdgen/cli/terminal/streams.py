"""stdout for results alone, stderr for messages; what libraries write goes to neither unasked.

Everything that sdgen shows passes through here and is escaped, pictures of its own drawing apart: text of a
file, a model or a prompt may hold what a terminal would obey.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import BinaryIO

import click

from sdgen.errors import OutputError
from sdgen.files import library_logs
from sdgen.files.library_logs import NOISE
from sdgen.text.printable import printable

CLOSED_PIPE = 141
"""The status that a shell gives for a command ended by SIGPIPE; ours when stdout's reader has gone."""

_LAYOUT = "\n\t"
"""What text of several lines may have beside what is printable."""


def open_closed_descriptors() -> None:
    """Open what the caller closed of stdin, stdout and stderr, so that no file of ours takes its number.

    A library that prints would otherwise write into an image.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Python has None for a stream that was closed when it started.
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def tell(text: str, lines: bool = False) -> None:
    """Write to stderr. Once nobody takes it, on a full disk for example, work goes on without.

    Args:
        text: one line; its line ends are escaped, too.
        lines: it may have several lines.
    """
    try:
        click.echo(printable(text, kept=_LAYOUT if lines else ""), err=True)
    except OSError:
        # The old stream keeps the line, and Python would end with status 120 for it.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def draw(sequence: str) -> None:
    """Write sequences that a terminal is to obey to stderr, at once: our own, with nobody's text in them."""
    try:
        sys.stderr.write(sequence)
        sys.stderr.flush()
    except OSError:  # As in ``tell``.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def show(text: str | os.PathLike[str]) -> None:
    """Write lines to stdout, for a command that keeps it for nothing else. Errors as ``Results.line``."""
    with contextlib.ExitStack() as stack:
        Results(_stdout(stack)).line(text)


def agrees(question: str) -> bool:
    """Whether whoever sits at the terminal says yes; no is what Return says."""
    return click.confirm(printable(question), err=True)


class ClosedPipe(Exception):
    """Whoever read our stdout has gone."""


class Results:
    """The run's real stdout, which nothing but results reaches."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()

    def line(self, text: str | os.PathLike[str]) -> None:
        """Write text that may have several lines, or a path; at once.

        A program gets a path as the bytes that it is on the file system, a terminal gets it escaped. What
        stdout's encoding lacks is escaped, too.

        Raises:
            ClosedPipe, OutputError: as ``data``.
        """
        if not isinstance(text, str):
            if not self._terminal:
                self.data(os.fsencode(text) + b"\n")
                return
            text = printable(os.fspath(text))
        encoding = getattr(sys.__stdout__, "encoding", None) or "utf-8"
        self.data(f"{printable(text, kept=_LAYOUT)}\n".encode(encoding, "backslashreplace"))

    def data(self, data: bytes) -> None:
        """Write bytes, at once.

        Raises:
            ClosedPipe: nobody reads stdout any more.
            OutputError: stdout cannot be written, a full disk for example.
        """
        left = memoryview(data)
        try:
            while left:
                left = left[self._stream.write(left) :]
            self._stream.flush()
        except BrokenPipeError:
            raise ClosedPipe from None
        except OSError as error:
            raise OutputError(f"stdout cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def results() -> Iterator[Results]:
    """Keep stdout for results: whatever else prints to it, even C++, goes to stderr.

    The descriptor stays with stderr when the block ends, because C keeps what it prints until the process
    exits.
    """
    with contextlib.ExitStack() as stack:
        stream = _stdout(stack)
        with contextlib.suppress(io.UnsupportedOperation, ValueError):
            os.dup2(2, sys.stdout.fileno())
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield Results(stream)


def _stdout(stack: contextlib.ExitStack) -> BinaryIO:
    """Stdout without a buffer, which would be written again at the end if it fails now."""
    sys.stdout.flush()
    try:
        return stack.enter_context(os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0))
    except (io.UnsupportedOperation, ValueError):
        return sys.stdout.buffer


def drop_library_noise() -> None:
    """Keep the warnings and log lines of libraries, Python's and C++'s, off stderr until the process ends.

    A child process reads what is written to descriptor 2 and passes on the rest, so that the last words of
    a crash are not lost. ``sys.stderr`` goes to the real one directly.

    Called before there are threads: a child that is forked beside one may wait for ever for what that one
    holds. Where there is another all the same, nothing is dropped.
    """
    try:
        number = sys.stderr.fileno()
    except (AttributeError, io.UnsupportedOperation, ValueError):
        return
    if number != 2 or not hasattr(os, "fork") or threading.active_count() > 1:
        return
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    sys.stderr.flush()
    real = os.dup(2)
    ours, theirs = os.pipe()
    if os.fork() == 0:
        _pass_on(ours, real)
    os.dup2(theirs, 2)
    os.close(theirs)
    os.close(ours)
    library_logs.leave_alone()
    sys.stderr = os.fdopen(real, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")


def _pass_on(source: int, target: int) -> None:
    """The child: copies lines that are no noise, until the last writer has gone."""
    try:
        # Signals of the terminal and of `timeout` reach the whole group; the end of the pipe ends this.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.dup2(source, 0)
        os.dup2(target, 2)
        # Above all stdout, whose reader waits until nobody has it open.
        os.close(1)
        os.closerange(3, 256)
        with open(0, "rb") as lines:
            for line in lines:
                if not NOISE.match(line):
                    os.write(2, line)
    finally:
        os._exit(0)
