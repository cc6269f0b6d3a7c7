"""What a script of the tests computes on JAX, which takes a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sdgen


def outputs(script: str | Path, file: Path, *arguments: str | Path) -> dict[str, np.ndarray]:
    """The arrays that ``python script jax ARGUMENTS... file`` writes; the test is skipped without JAX."""
    pytest.importorskip("jax")
    source = str(Path(sdgen.__file__).parent.parent)
    subprocess.run(
        [sys.executable, str(script), "jax", *map(str, arguments), str(file)],
        env={**os.environ, "PYTHONPATH": source},
        check=True,
    )
    with np.load(file) as stored:
        return dict(stored)
