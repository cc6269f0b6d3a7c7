"""What docs/installing.md says can be left out of an installation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

OF_KERAS_CV = [
    "keras_cv",
    "pyarrow",
    "array_record",
    "keras_core",
    "tensorflow_datasets",
    "tree",
    "kagglehub",
    "regex",
]
DRAW = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ImportError(f"{name} is left out")

sys.meta_path.insert(0, Absent())
import sdgen
pipeline = sdgen.load(sys.argv[2], backend=sys.argv[1], device="cpu", jit=False)
(image,) = pipeline.generate([sdgen.Request(prompt="a heart", seed=1, steps=1, width=64, height=64)])
print(image.pixels.shape)
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_drawing_needs_nothing_of_what_keras_cv_brings(
    small_model: Path, backend: str, tmp_path: Path
) -> None:
    pytest.importorskip(backend)
    source = str(Path(__file__).parent.parent / "src")
    run = subprocess.run(
        [sys.executable, "-c", f"ABSENT = {OF_KERAS_CV!r}\n{DRAW}", backend, str(small_model)],
        env={**os.environ, "PYTHONPATH": source, "SDGEN_CACHE_DIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.stdout.strip().endswith("(64, 64, 3)"), run.stderr
