"""Rendering with the bundled model: what an image may depend on, and what it may not."""

from __future__ import annotations

import dataclasses
import gc
import json
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_in
from command import start
from PIL import Image as Picture

import sdgen
from sdgen.batch import batch_size
from sdgen.batch.batch_folder import BatchFolder
from sdgen.batch.feeds import Feed
from sdgen.batch.outcomes import DRAWN, Outcome
from sdgen.batch.packing import Packer
from sdgen.batch.policy import Policy
from sdgen.batch.renderer import Renderer
from sdgen.batch.tasks import Task
from sdgen.checkpoints.tensors import from_array
from sdgen.pipeline.results import Job
from sdgen.request import Request

SMALL = Request(prompt="a red heart", steps=3, width=64, height=64, model="mini")
TWELVE = [
    SMALL.replace(prompt=prompt, seed=seed) for seed in range(3) for prompt in ("panda", "tree", "x", "a cat")
]
MIXED = [
    SMALL.replace(seed=1, steps=10),
    SMALL.replace(seed=2, steps=30, guidance=9.0, sampler="euler-a", prompt="a blue fish"),
    SMALL.replace(seed=3, steps=20, guidance=3.0, sampler="dpmpp-2m", schedule="karras", prompt="a panda"),
    SMALL.replace(seed=4, steps=12, guidance=1.0, sampler="unipc", prompt="a tree"),
    SMALL.replace(seed=5, steps=15, guidance=1.5, negative_prompt="a tree", rng="torch"),
]


def render(
    pipeline: Any, requests: Sequence[Request], folder: Path, size: int | None = None, **policy: Any
) -> list[Outcome]:
    tasks = [Task(request, number) for number, request in enumerate(requests, 1)]
    store = BatchFolder(folder)
    store.prepare(1, 1)
    renderer = Renderer(lambda model: pipeline, store, Policy(size, **policy))
    events = [event for event in renderer.run(Feed(tasks)) if isinstance(event, Outcome)]
    return sorted(events, key=lambda outcome: outcome.task.number)


def pixels(outcomes: Sequence[Outcome]) -> list[np.ndarray]:
    assert [outcome.error for outcome in outcomes] == [None] * len(outcomes)
    return [np.asarray(Picture.open(outcome.saved.path)) for outcome in outcomes if outcome.saved]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


@pytest.mark.slow
def test_twelve_requests_are_the_same_images_at_any_batch_size(batching: Any, tmp_path: Path) -> None:
    """The last of three batches is not full."""
    alone = pixels(render(batching, TWELVE, tmp_path / "1", 1))
    together = pixels(render(batching, TWELVE, tmp_path / "5", 5))
    assert min(map(psnr, alone, together)) > 50


@pytest.mark.slow
def test_twelve_requests_are_the_same_images_at_any_batch_size_on_jax(
    small_model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("jax")
    prompts = tmp_path / "p.jsonl"
    requests = [request.replace(model=str(small_model)) for request in TWELVE]
    prompts.write_text("".join(f"{request.to_json()}\n" for request in requests), encoding="utf-8")
    script = (
        "import sys; from sdgen.__main__ import main\n"
        "from sdgen.cli.root import root\n"
        "from sdgen.pipeline.pipeline import Pipeline\n"
        "Pipeline.batch_limit = lambda self, asked=None: asked or 1\n"
        "for size in (1, 5):\n"
        "    try: root.main(['batch', sys.argv[1], '--backend', 'jax', '--batch-size', str(size),\n"
        "                    '-o', f'{sys.argv[2]}/{size}', '--quiet'], prog_name='sdgen')\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
    )
    process = start([sys.executable, "-c", script, str(prompts), str(tmp_path)])
    _, messages = process.communicate(timeout=300)
    assert process.returncode == 0, messages.decode()
    names = sorted(path.name for path in (tmp_path / "1").glob("*.png"))
    assert len(names) == len(TWELVE)
    assert json.loads(next((tmp_path / "1").glob("*.json")).read_text())["backend"] == "jax"
    for name in names:
        one, other = (np.asarray(Picture.open(tmp_path / size / name)) for size in "15")
        assert psnr(one, other) > 50


@pytest.mark.slow
def test_a_mixed_batch_equals_each_image_alone(batching: Any, tmp_path: Path) -> None:
    together = pixels(render(batching, MIXED, tmp_path / "together", 4))
    for number, request in enumerate(MIXED):
        (alone,) = pixels(render(batching, [request], tmp_path / str(number), 1))
        assert psnr(together[number], alone) > 50


@pytest.mark.numeric
def test_a_batch_that_is_gone_on_with_has_the_very_same_pixels(mini: Any, tmp_path: Path) -> None:
    whole = render(mini, TWELVE[:5], tmp_path / "whole", 3)
    parts = render(mini, TWELVE[:5], tmp_path / "parts", 3)
    for outcome in (parts[0], parts[1], parts[4]):
        assert outcome.saved is not None
        outcome.saved.path.unlink()
    before = mini.compilations
    again = render(mini, TWELVE[:5], tmp_path / "parts", 3)
    assert [outcome.status for outcome in again] == ["drawn", "drawn", "kept", "kept", "drawn"]
    assert mini.compilations == before
    for one, other in zip(pixels(whole), pixels(again), strict=True):
        assert np.array_equal(one, other)


def test_a_batch_that_is_gone_on_with_has_the_groups_of_the_undisturbed_run() -> None:
    def batches(there: set[int]) -> list[list[int]]:
        packer = Packer(lambda request: 3, lambda task: True, in_order=False)
        for number in range(1, 9):
            request = SMALL.replace(seed=number)
            packer.add((Task(request, number), Job(request, ())), there=number in there)
        return [[task.number for task, _ in batch] for batch in iter(packer.pop, [])]

    assert batches(set()) == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert batches({1, 2, 5}) == [[3], [4, 6], [7, 8]]
    assert batches({1, 2, 3, 8}) == [[4, 5, 6], [7]]


def test_images_of_several_sizes_are_sorted_into_few_batches(tmp_path: Path) -> None:
    requests = [SMALL.replace(seed=n, width=64 + 32 * (n % 2)) for n in range(8)]
    outcomes = render(stand_in.Pipeline(), requests, tmp_path, 4)
    assert len(pixels(outcomes)) == 8
    sizes = [
        json.loads(o.saved.sidecar.read_text())["batch_size"] for o in outcomes if o.saved and o.saved.sidecar
    ]
    assert sizes == [4] * 8


@pytest.mark.slow
def test_what_overflows_in_half_precision_is_drawn_in_float32(small_model: Path, tmp_path: Path) -> None:
    small = sdgen.load(str(small_model), device="cpu", dtype="float16")
    # Beyond what float16 has, and brought back by the last convolution.
    unet = small.checkpoint.unet
    factors = {"conv_norm_out.weight": 1e5, "conv_norm_out.bias": 1e5, "conv_out.weight": 1e-5}
    entries = {
        name: from_array(unet.tensors[name].astype(np.float32) * np.float32(factor))
        for name, factor in factors.items()
    }
    unet = dataclasses.replace(unet, tensors=unet.tensors.replaced(entries))
    checkpoint = small.checkpoint.with_components({"unet": unet})
    pipeline = sdgen.Pipeline(checkpoint, small.entry, "float16", "cpu:0")
    (outcome,) = render(pipeline, [SMALL], tmp_path, jit=False)
    assert len(pixels([outcome])) == 1
    assert outcome.warnings[-1].startswith("drawn in float32; in float16: ")
    assert outcome.saved is not None and outcome.saved.sidecar is not None
    assert json.loads(outcome.saved.sidecar.read_text())["dtype"] == "float32"


@pytest.mark.parametrize("jit", [False, True])
def test_no_model_before_is_alive_when_the_next_is_loaded(
    small_model: Path, tmp_path: Path, jit: bool
) -> None:
    seen: list[weakref.ref[Any]] = []
    found: list[int] = []

    def alive() -> int:
        return sum(reference() is not None for reference in seen)

    def load(model: str) -> Any:
        found.append(alive())
        pipeline = sdgen.load(str(small_model), device="cpu", dtype="float32", jit=jit)
        of_this = [pipeline, *pipeline.networks.diffusion_model.variables]
        seen.extend(map(weakref.ref, of_this))
        return pipeline

    store = BatchFolder(tmp_path)
    store.prepare(1, 1)
    tasks = [Task(SMALL.replace(steps=1, seed=n, model=model), n) for n, model in enumerate("abab", 1)]
    gc.disable()
    try:
        events = list(Renderer(load, store, Policy(jit=jit)).run(Feed(tasks)))
    finally:
        gc.enable()
    assert sum(isinstance(event, Outcome) and event.status == DRAWN for event in events) == 4
    assert [*found, alive()] == [0, 0, 0]


def test_importing_a_framework_holds_on_to_nothing_of_who_asked_for_it() -> None:
    script = """
import gc, weakref
from sdgen import backend

class Model: pass

def load():
    model = Model()
    getattr(backend, "take_shortcuts", lambda: None)()  # As the command does.
    backend.activate("tensorflow")
    return weakref.ref(model)

reference = load()
gc.collect()
assert reference() is None
"""
    process = start([sys.executable, "-c", script])
    _, messages = process.communicate(timeout=100)
    assert process.returncode == 0, messages.decode()


class Accelerator:
    """What ``batch_size`` asks of a pipeline."""

    device, backend, dtype, low_memory = "gpu:0", "jax", "bfloat16", False

    def __init__(self, mini: Any) -> None:
        self.checkpoint, self.entry = mini.checkpoint, mini.entry

    def batch_limit(self) -> int:
        return 4


def test_the_batch_size_grows_with_the_free_memory_and_is_remembered(
    mini: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDGEN_CACHE_DIR", str(tmp_path))
    pipeline: Any = Accelerator(mini)
    request = mini.resolve(SMALL)
    each = batch_size.bytes_per_image(pipeline, request)
    free = [each]
    monkeypatch.setattr(batch_size.backend, "free_memory", lambda device: free[0])
    sizes = []
    for free[0] in (each, 3 * each, 6 * each, 1000 * each):
        sizes.append(batch_size.choose(pipeline, request))
    assert sizes == [1, 2, 4, 8]
    batch_size.learn(pipeline, request, 2)
    assert batch_size.choose(pipeline, request) == 2
    assert batch_size.choose(pipeline, request.replace(width=128)) == 8
    free[0] = 10_000 * each
    assert batch_size.choose(pipeline, request) == 8


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "[]", '{"%s": 7}', '{"%s": {"size": "x", "free": []}}', '{"%s": {"size": null}}']
)
def test_remembered_batch_sizes_may_be_damaged(
    mini: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SDGEN_CACHE_DIR", str(tmp_path))
    pipeline: Any = Accelerator(mini)
    request = mini.resolve(SMALL)
    monkeypatch.setattr(batch_size.backend, "free_memory", lambda device: None)
    (tmp_path / "batch-sizes.json").write_text(text.replace("%s", batch_size._key(pipeline, request)))
    assert batch_size.choose(pipeline, request) == 4
    batch_size.learn(pipeline, request, 2)
    assert batch_size.choose(pipeline, request) == 2


def test_one_image_at_a_time_on_a_cpu(mini: Any) -> None:
    assert batch_size.choose(mini, mini.resolve(SMALL)) == 1
