"""What a run takes and tells can go to another process and comes out the same."""

from __future__ import annotations

import dataclasses
import importlib
import pickle
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_in

from sdgen.batch import batch_size
from sdgen.batch.outcomes import CANCELLED, DRAWN, FAILED, Note, Outcome, Planned
from sdgen.batch.policy import Policy
from sdgen.batch.tasks import Cancelled, Rejected, Task
from sdgen.errors import ImageError, InputError, SdgenError
from sdgen.images.image import Image
from sdgen.images.image_and_sidecar import Saved
from sdgen.models.fetch_file import NotFetched
from sdgen.pipeline.results import Denoised, Job, Progress

REQUEST = stand_in.REQUEST
TASK = Task(REQUEST, 3, "prompts.txt:7")
SAVED = Saved(Path("out/1.png"), Path("out/1.json"))
JOB = Job(REQUEST, (32, 64))
PIXELS = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)

PLAIN = [
    REQUEST,
    TASK,
    TASK.rejected(InputError("width 104 is not a multiple of 32", "width")),
    Rejected("the prompt is blank", again=True),
    Cancelled(TASK),
    Outcome(TASK, REQUEST, DRAWN, SAVED, 1.5, warnings=("the prompt was cut",)),
    Outcome(TASK, REQUEST, FAILED, error=ImageError("the image came out black")),
    Outcome(TASK, REQUEST, FAILED, error=InputError("no such layer", "clip_skip")),
    Outcome(TASK, REQUEST, FAILED, error=RuntimeError("RESOURCE_EXHAUSTED", 4)),
    Outcome(TASK, REQUEST, FAILED, error=OSError(28, "No space left", "out/1.png")),
    Outcome(TASK, REQUEST, CANCELLED),
    Planned(40),
    Planned(None),
    Note("out of memory with 4 images at once; going on with 2"),
    Progress(1, 4, 2),
    SAVED,
    Saved(Path("1.png"), None),
    JOB,
    Denoised((JOB,), np.ones((1, 4, 8, 4), np.float32), 0.5, {"batch_size": 1}),
    Denoised((JOB,), None, 0.5, {}, PIXELS[None]),
    Image(REQUEST, PIXELS, 0.5, None, ("long",), stand_in.DETAILS),
    Image(REQUEST, None, 0.5, ImageError("black")),
    Policy(4, batch_size.choose, batch_size.learn, company=0.05),
]


def sent(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # nosec B301 # its own


def taken_apart(value: Any) -> Any:
    """A value with everything in it, for comparison: an error is equal to another of its kind and text."""
    if isinstance(value, BaseException):
        return type(value), value.args, vars(value), str(value)
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if dataclasses.is_dataclass(value):
        return type(value), [taken_apart(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, tuple | list):
        return type(value), [taken_apart(part) for part in value]
    return value


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_what_goes_to_another_process_comes_out_the_same(value: Any) -> None:
    assert taken_apart(sent(value)) == taken_apart(value)


WITHOUT_FRAMEWORKS = ("batch", "checkpoints", "files", "images", "models", "prompts", "serve", "text")


def errors() -> Iterator[type[SdgenError]]:
    """Every kind of error that sdgen shows: what computes has none of its own."""
    for room in WITHOUT_FRAMEWORKS:
        package = importlib.import_module(f"sdgen.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"sdgen.{room}."):
            importlib.import_module(module.name)
    kinds = [SdgenError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        yield kind


def test_errors_keep_their_fields() -> None:
    found = list(errors())
    assert {"InputError", "OutputError", "NotFetched"} <= {kind.__name__ for kind in found}
    for kind in found:
        error = kind("the size is wrong")
        error.somewhere = "line 3"
        assert taken_apart(sent(error)) == taken_apart(error)
        assert sent(error).exit_code == kind.exit_code
    assert sent(InputError("too wide", "width")).field == "width"
    assert sent(NotFetched("no address gave it", lasting=True)).lasting


class Odd(Exception):
    """A library's error, which pickle cannot make again."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")


def test_an_error_that_cannot_be_sent_is_told_by_its_text() -> None:
    outcome = Outcome(TASK, REQUEST, FAILED, error=Odd("block 3", "no memory"))
    there = sent(outcome)
    assert isinstance(there.error, SdgenError)
    assert str(there.error) == "Odd: block 3: no memory"
    assert (there.task, there.status) == (TASK, FAILED)
