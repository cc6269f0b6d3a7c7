"""Targets that misbehave on purpose: what the runner is tested with."""

from __future__ import annotations

import pickle
import re
import sys
import time
from pathlib import Path

from fuzz import pickles
from sdgen.errors import InputError


def misbehave(folder: Path) -> None:
    """Does what the file ``do`` in the folder says."""
    what = (folder / "do").read_text()
    if what == "refuse":
        raise InputError("no")
    if what == "print":
        print("not an answer")
    if what == "fail":
        raise TypeError("unexpected")
    if what == "swell":
        bytes(1 << 31)
    if what == "recurse":
        misbehave_again()
    if what == "spin":
        re.fullmatch("(a+)+", "a" * 64 + "b")
    if what == "exit":
        sys.exit(3)
    if what == "write":
        (folder.parent / "outside").write_text("x")
    if what == "read":
        (folder.parent / "secret").read_text()


def misbehave_again() -> None:
    """Calls itself without end."""
    misbehave_again()


def wait(folder: Path) -> None:
    """Never ends, and uses no processor time."""
    time.sleep(1e6)


def run_a_pickle(folder: Path) -> None:
    """Reads weights as Python itself does, with all that their pickle asks for."""
    (folder / "x.pt").write_bytes(b"cbuiltins\neval\n(X\x13\x00\x00\x00open('canary', 'w')tR.")
    pickle.loads((folder / "x.pt").read_bytes())
    pickles.read(folder)
