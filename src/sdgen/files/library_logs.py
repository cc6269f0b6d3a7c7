"""What libraries write to stderr where no setting reaches it: TensorFlow while it is imported, libtiff."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

NOISE = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:\d+\.\d+ +\d+ \S+:\d+\] "
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWE] "
    rb"|WARNING: All log messages before absl::InitializeLog"
    rb"|(?:_?TIFF[A-Z]\w+|(?:PackBits|LZW|Fax[34]|ZIP|JPEG)(?:Decode|Setup|Fixup|PreDecode|Lib)\w*"
    rb"|tempfile\.tif): "
)
"""Log lines of TensorFlow, XLA and CUDA libraries, save fatal ones, and what libtiff says of damaged files,
of which Pillow raises an error. TF_CPP_MIN_LOG_LEVEL does not reach those that TensorFlow 2.21 writes while
it is imported."""

STDERR = 2
_filtered = False
_holding = threading.Lock()


def leave_alone() -> None:
    """Another process filters descriptor 2, which loses no last words of a crash."""
    global _filtered
    _filtered = True


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Keep the libraries' log lines off stderr until the block ends, then pass on all other lines.

    All that this process writes to descriptor 2 meanwhile waits in a file. Where sdgen's log is shown, or the
    descriptor cannot be turned aside, or another thread or process filters it, nothing changes.
    """
    if _filtered or logging.getLogger("sdgen").isEnabledFor(logging.DEBUG) or not _holding.acquire(False):
        yield
        return
    with contextlib.ExitStack() as stack:
        stack.callback(_holding.release)
        try:
            kept = stack.enter_context(_unnamed_file())
            real = os.dup(STDERR)
        except OSError:  # No space for a file, or no stderr.
            yield
            return
        try:
            _flush()
            os.dup2(kept.fileno(), STDERR)
            yield
        finally:
            _flush()
            os.dup2(real, STDERR)
            os.close(real)
            kept.seek(0)
            with contextlib.suppress(OSError):
                for line in kept:
                    if not NOISE.match(line):
                        os.write(STDERR, line)


def _unnamed_file() -> IO[bytes]:
    """A file without a name; in memory where that can be: who reads a picture writes nowhere."""
    if hasattr(os, "memfd_create"):  # Linux.
        return os.fdopen(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()


def _flush() -> None:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stderr.flush()
