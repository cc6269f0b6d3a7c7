"""Renderer and ModelRun with the stand-in pipeline: models, signals, memory."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import stand_in
from limits import within
from stand_in import Denoised, Image, ImageError, Job, Progress

from sdgen.batch.batch_folder import BatchFolder
from sdgen.batch.feeds import Feed, Stream
from sdgen.batch.outcomes import DRAWN, FAILED, KEPT, Outcome
from sdgen.batch.policy import Policy
from sdgen.batch.renderer import Renderer
from sdgen.batch.tasks import Task
from sdgen.pipeline.watching import Watch
from sdgen.request import Request


def tasks(*models: str) -> list[Task]:
    """One task for each model's name."""
    return [
        Task(Request(prompt=f"fox {number}", seed=number, model=model), number)
        for number, model in enumerate(models, 1)
    ]


@dataclasses.dataclass
class Run:
    """A renderer on a folder; ``loads`` are the models that it has loaded."""

    folder: Path
    policy: Policy = dataclasses.field(default_factory=Policy)
    pipeline: type[stand_in.Pipeline] = stand_in.Pipeline
    loads: list[str] = dataclasses.field(default_factory=list)
    stop: bool = False

    def __call__(self, feed: Feed) -> list[Outcome]:
        return [event for event in self.events(feed) if isinstance(event, Outcome)]

    def events(self, feed: Feed) -> Iterator[Any]:
        self.store = BatchFolder(self.folder)
        self.store.prepare(1, 1)
        return Renderer(self._load, self.store, self.policy, lambda: self.stop).run(feed)

    def _load(self, model: str) -> Any:
        self.loads.append(model)
        return self.pipeline()


def test_models_in_any_order_are_loaded_once_each(tmp_path: Path) -> None:
    run = Run(tmp_path)
    outcomes = run(Feed(tasks("a", "b", "a", "c", "b", "a")))
    assert [outcome.task.number for outcome in outcomes] == [1, 3, 6, 2, 5, 4]
    assert {outcome.status for outcome in outcomes} == {DRAWN}
    assert run.loads == ["a", "b", "c"]


def test_a_model_whose_images_are_there_is_not_loaded_whatever_comes_between(tmp_path: Path) -> None:
    Run(tmp_path)(Feed(tasks("a", "b", "a")))
    run = Run(tmp_path)
    outcomes = run(Feed([*tasks("a", "b", "a"), Task(Request(prompt="cat", model="b"), 4)]))
    assert [outcome.status for outcome in outcomes] == [KEPT, KEPT, KEPT, DRAWN]
    assert run.loads == ["b"]


def test_of_a_stream_what_has_come_for_a_model_is_drawn_before_another_is_loaded(tmp_path: Path) -> None:
    stream = Stream(tasks("a", "b", "a", "b", "a"), lambda: False)
    stream.head(wait=True)
    stream._thread.join(10)
    run = Run(tmp_path)
    outcomes = within(20, lambda: run(stream))
    assert [outcome.task.number for outcome in outcomes] == [1, 3, 5, 2, 4]
    assert run.loads == ["a", "b"]


class Cyclic(stand_in.Pipeline):
    """Refers to itself, as Keras' objects do."""

    alive: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()
    most = 0

    def __init__(self) -> None:
        self.myself = self
        Cyclic.alive.add(self)
        Cyclic.most = max(Cyclic.most, len(Cyclic.alive))


def test_a_model_is_gone_before_the_next_is_loaded(tmp_path: Path) -> None:
    Cyclic.most = 0
    gc.collect()
    gc.disable()
    try:
        Run(tmp_path, pipeline=Cyclic)(Feed(tasks("a", "b", "c", "a")))
        assert not Cyclic.alive
    finally:
        gc.enable()
    assert Cyclic.most == 1


class Half(stand_in.Pipeline):
    """Comes out unusable but in float32, which takes several steps."""

    dtype = "bfloat16"

    def in_float32(self) -> Any:
        return Wide()

    def draw(
        self, jobs: Sequence[Job], size: int, jit: bool, watch: Watch | None = None
    ) -> Iterator[Progress | Denoised]:
        yield Denoised(tuple(jobs), None, 0.1, {})

    def decode(self, batch: Denoised) -> Iterator[Image]:
        yield Image(batch.jobs[0].request, None, 0.1, ImageError("the image came out black"))


class Wide(stand_in.Pipeline):
    error: Exception | None = None

    def draw(
        self, jobs: Sequence[Job], size: int, jit: bool, watch: Watch | None = None
    ) -> Iterator[Progress | Denoised]:
        for event in super().draw(jobs, size, jit, watch):
            yield event
            if self.error is not None:
                raise self.error


def test_a_signal_is_heard_while_an_image_is_drawn_in_float32(tmp_path: Path) -> None:
    run = Run(tmp_path, pipeline=Half)
    seen = []
    for event in run.events(Feed(tasks("a", "a"))):
        seen.append(event)
        run.stop = run.stop or isinstance(event, Progress)
    assert sum(isinstance(event, Progress) for event in seen) == 1
    assert not [event for event in seen if isinstance(event, Outcome)]
    assert not list(tmp_path.iterdir())  # No failure is noted, no claim left.
    assert [outcome.status for outcome in Run(tmp_path, pipeline=Half)(Feed(tasks("a", "a")))] == [DRAWN] * 2


@pytest.mark.parametrize("error", [RuntimeError("RESOURCE_EXHAUSTED: out of memory"), RuntimeError("odd")])
def test_an_error_in_float32_costs_its_own_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(Wide, "error", error)
    outcomes = Run(tmp_path, pipeline=Half)(Feed(tasks("a", "a")))
    assert [outcome.status for outcome in outcomes] == [FAILED, FAILED]
