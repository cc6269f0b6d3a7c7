"""The command with the bundled model, end to end."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
import signal
import subprocess
import sys
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from command import Command, start
from PIL import Image

import sdgen as package
from sdgen.errors import ExitCode

pytestmark = pytest.mark.slow

OURS = re.compile(
    r"seed .*|loading mini|(loading|compiling), \d+ s so far|step \d+ of .*|\d+ (of \d+ )?images? drawn.*"
)


@functools.cache
def load_once(**options: object) -> object:
    from sdgen.pipeline.loading import load

    return load(**options)


@pytest.fixture
def sdgen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    command = Command(tmp_path, monkeypatch, real=True)
    monkeypatch.setitem(vars(package), "load", lambda model, **options: load_once(model=model, **options))
    return command


def process(*arguments: str) -> subprocess.Popen[bytes]:
    return start([sys.executable, "-m", "sdgen", *arguments, "--model", "mini", "--backend", "tensorflow"])


def test_a_picture_and_its_sidecar(sdgen: Command) -> None:
    (record,) = sdgen.drawn("a red heart", "--steps", "2", "--seed", "7")
    schema = json.loads((resources.files("sdgen.images") / "data" / "sidecar.schema.json").read_text("utf-8"))
    jsonschema.validate(record, schema)
    unknown = {name for name, value in record.items() if value is None}
    assert unknown <= {"schedule", "spacing", "zero_snr"}
    with Image.open(Path("outputs", record["image"])) as picture:
        assert (picture.mode, picture.size) == ("RGB", (256, 256))
        assert hashlib.sha256(picture.tobytes()).hexdigest() == record["pixels_sha256"]


def test_image_k_of_a_run_is_that_of_its_own_seed(sdgen: Command) -> None:
    together = sdgen.drawn("a panda", "-n", "3", "--seed", "7", "--steps", "2", "--sampler", "euler-a")
    (alone,) = sdgen.drawn("a panda", "--seed", "9", "--steps", "2", "--sampler", "euler-a")
    assert together[2]["pixels_sha256"] == alone["pixels_sha256"]
    assert len({record["pixels_sha256"] for record in together}) == 3


def test_a_size_that_the_model_cannot_draw(sdgen: Command) -> None:
    result = sdgen.draw("a fox", "--width", "264")
    assert result.exit_code == ExitCode.USAGE
    assert "width 264 is not a multiple of" in result.stderr
    assert not list(Path("outputs").iterdir())


def test_eta_with_a_default_sampler_that_takes_it(sdgen: Command) -> None:
    (record,) = sdgen.drawn("a fox", "--eta", "1", "--steps", "2")
    assert (record["sampler"], record["eta"]) == ("ddim", 1.0)


def test_one_process_from_prompt_to_stdout(sdgen: Command) -> None:
    data, messages = process("a red heart", "--steps", "2", "-o", "-").communicate(timeout=300)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (256, 256)
    assert [line for line in messages.decode().splitlines() if not OURS.fullmatch(line)] == []


def test_ctrl_c_keeps_what_is_whole(sdgen: Command) -> None:
    running = process("a red heart", "-n", "500", "--steps", "4", "--size", "64x64")
    assert running.stdout is not None
    running.stdout.readline()
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=300)
    assert running.returncode == ExitCode.INTERRUPTED
    images = list(Path("outputs").glob("*.png"))
    assert 1 <= len(images) < 500
    assert {path.with_suffix(".json") for path in images} == set(Path("outputs").glob("*.json"))


def test_the_process_is_recorded_and_the_picture_stays_as_it_is(sdgen: Command) -> None:
    plain, watched = (
        sdgen.drawn("a red heart", "--steps", "8", "--seed", "7", *more)[0]
        for more in ((), ("--record", "h.png", "--record-of", "both"))
    )
    assert plain["pixels_sha256"] == watched["pixels_sha256"]
    strip = np.asarray(Image.open("h.png"), np.float64)
    assert strip.shape == (18 + 2 * 256 + 4, 8 * 256 + 7 * 4, 3)

    def away(row: int, column: int) -> float:
        """How far a frame is from the picture, levels."""
        top, left = 18 + row * 260, column * 260
        last = strip[top : top + 256, 7 * 260 :]
        return float(np.sqrt(np.mean((strip[top : top + 256, left : left + 256] - last) ** 2)))

    noisy, estimate = [away(0, column) for column in range(7)], [away(1, column) for column in range(7)]
    assert noisy[0] > 60 and estimate[6] < 30
    # What is noisy comes nearer with each step, and the estimate is always nearer.
    assert noisy == sorted(noisy, reverse=True)
    assert all(seen < blurred for seen, blurred in zip(estimate, noisy, strict=True))
