"""The server's drawing thread with the stand-in engine: batches, fairness, cancelling, errors, stopping."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import stand_in
from serving import Held, Told, request

from sdgen.batch.policy import Policy
from sdgen.errors import ImageError, InputError, ModelUnavailable
from sdgen.pipeline.watching import Watch
from sdgen.serve.drawer import Drawer, Full
from sdgen.serve.drawing import Drawn, Dropped, Failed, Stage
from sdgen.serve.previews import Partials


@pytest.fixture
def engine() -> Held:
    return Held()


@pytest.fixture
def drawer(engine: Held) -> Iterator[Drawer]:
    made = Drawer(lambda model: engine)
    made.start()
    yield made
    engine.permits.release(1000)
    assert made.stop(20)


def ask(drawer: Drawer, *requests: Any, watch: Watch | None = None) -> tuple[Any, Told]:
    told = Told(len(requests))
    return drawer.submit(requests, told, watch), told


def seeds(engine: Held) -> list[list[int]]:
    return [batch for batch, _ in engine.batches]


def test_a_picture_comes_with_its_pixels_and_how_it_was_made(drawer: Drawer, engine: Held) -> None:
    engine.permits.release()
    (end,) = ask(drawer, request(7))[1].ends()
    assert isinstance(end, Drawn)
    assert end.image.pixels is not None and end.image.pixels.shape == (64, 64, 3)
    assert end.image.request.steps == 4
    assert end.image.details["batch_size"] == 1


def test_what_comes_while_a_batch_is_drawn_is_drawn_as_one(drawer: Drawer, engine: Held) -> None:
    _, first = ask(drawer, request(1))
    engine.began()
    others = [ask(drawer, request(seed))[1] for seed in (2, 3, 4)]
    engine.permits.release(2)
    assert all(isinstance(end, Drawn) for told in (first, *others) for end in told.ends())
    assert seeds(engine) == [[1], [2, 3, 4]]


def test_one_that_is_alone_is_drawn_by_the_program_for_one(drawer: Drawer, engine: Held) -> None:
    engine.permits.release(2)
    ask(drawer, request(1))[1].ends()
    ask(drawer, request(2), request(3), request(4))[1].ends()
    assert engine.batches == [([1], 1), ([2, 3, 4], 4)]


def test_a_lone_shape_is_drawn_when_it_is_its_turn_whatever_else_comes(drawer: Drawer, engine: Held) -> None:
    ask(drawer, request(1))
    engine.began()
    for seed in range(10, 16):
        ask(drawer, request(seed))
    _, lone = ask(drawer, request(99, width=96))
    for seed in range(20, 30):
        ask(drawer, request(seed))
    engine.permits.release(100)
    lone.ends()
    before = seeds(engine)[: seeds(engine).index([99])]
    assert [seed for batch in before for seed in batch] == [1, *range(10, 16), 20, 21]


def test_a_picture_is_handed_over_before_the_batch_after_it_ends(drawer: Drawer, engine: Held) -> None:
    _, first = ask(drawer, request(1))
    engine.began()
    _, second = ask(drawer, request(2, width=96))
    engine.permits.release()
    engine.began()
    assert isinstance(first.ends()[0], Drawn)
    engine.permits.release()
    second.ends()


def test_what_is_cancelled_while_it_waits_is_never_drawn(drawer: Drawer, engine: Held) -> None:
    ask(drawer, request(1))
    engine.began()
    drawing, told = ask(drawer, request(2))
    drawer.cancel(drawing)
    (end,) = told.ends()
    assert isinstance(end, Failed) and isinstance(end.error, Dropped)
    assert drawing.standings[0].stage is Stage.DROPPED
    _, third = ask(drawer, request(3))
    engine.permits.release(2)
    third.ends()
    assert seeds(engine) == [[1], [3]]


def test_what_is_cancelled_while_it_is_drawn_stops_between_two_steps(drawer: Drawer, engine: Held) -> None:
    drawing, told = ask(drawer, request(1, steps=50))
    engine.began()
    drawer.cancel(drawing)
    assert drawer.pending == 0
    told.ends()
    engine.permits.release(2)
    ask(drawer, request(2))[1].ends()
    assert engine.steps < 10


def test_a_batch_goes_on_without_the_one_that_is_cancelled(drawer: Drawer, engine: Held) -> None:
    ask(drawer, request(1))
    engine.began()
    given_up, dropped = ask(drawer, request(2))
    _, kept = ask(drawer, request(3))
    engine.permits.release()
    engine.began()
    drawer.cancel(given_up)
    engine.permits.release()
    assert isinstance(kept.ends()[0], Drawn)
    assert isinstance(dropped.ends()[0], Failed)


def test_progress_is_told_to_each_caller(drawer: Drawer, engine: Held) -> None:
    engine.permits.release(2)
    drawing, told = ask(drawer, request(1, steps=4))
    told.ends()
    assert [(event.step, event.steps) for event in told.steps()] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert drawing.done and drawing.share == 1
    assert all(event.seen is None for event in told.steps())


def test_each_caller_sees_the_steps_that_it_asked_to_see(drawer: Drawer, engine: Held) -> None:
    ask(drawer, request(1))
    engine.began()
    _, two = ask(drawer, request(2, steps=12), watch=Partials(2))
    _, all_of_them = ask(drawer, request(3, steps=12), watch=Watch(0))
    _, none = ask(drawer, request(4, steps=12))
    engine.permits.release(2)
    for told in (two, all_of_them, none):
        told.ends()
    assert seeds(engine) == [[1], [2, 3, 4]]
    assert [event.step for event in two.steps() if event.seen is not None] == [4, 8]
    assert [event.step for event in all_of_them.steps() if event.seen is not None] == list(range(1, 12))
    assert not [event for event in none.steps() if event.seen is not None]
    seen = next(event.seen for event in two.steps() if event.seen is not None)
    assert seen.dtype == np.uint8 and seen.shape[2] == 3


def test_a_model_whose_latents_cannot_be_shown_is_drawn_without(engine: Held) -> None:
    engine.checkpoint = stand_in.types.SimpleNamespace(
        vae=stand_in.types.SimpleNamespace(config={"latent_channels": 3, "scaling_factor": 7.0})
    )
    drawer = Drawer(lambda model: engine)
    drawer.start()
    engine.permits.release()
    _, told = ask(drawer, request(1), watch=Partials(2))
    assert isinstance(told.ends()[0], Drawn)
    assert all(event.seen is None for event in told.steps())
    assert drawer.stop(20)


def test_more_than_may_wait_are_refused_whole(engine: Held) -> None:
    drawer = Drawer(lambda model: engine, most=3)
    drawer.start()
    ask(drawer, request(1), request(2))
    with pytest.raises(Full, match=r"2 pictures wait, and at most 3 may; ask again in [0-9]+ s"):
        ask(drawer, request(3), request(4))
    _, told = ask(drawer, request(5))
    engine.permits.release(100)
    assert isinstance(told.ends()[0], Drawn)
    assert drawer.stop(20)
    assert sorted(seed for batch in seeds(engine) for seed in batch) == [1, 2, 5]


def test_a_call_knows_how_many_are_before_it(drawer: Drawer, engine: Held) -> None:
    first, _ = ask(drawer, request(1))
    engine.began()
    second, _ = ask(drawer, request(2), request(3))
    third, _ = ask(drawer, request(4))
    assert [drawer.ahead(drawing) for drawing in (first, second, third)] == [0, 1, 3]
    drawer.cancel(second)
    assert drawer.ahead(third) == 1


def test_an_error_costs_its_own_picture(drawer: Drawer, engine: Held) -> None:
    engine.permits.release(100)
    for _ in range(5):  # More in a row than a command would bear.
        (end,) = ask(drawer, request(1, "crash"))[1].ends()
        assert isinstance(end, Failed) and isinstance(end.error, RuntimeError)
    (end,) = ask(drawer, request(1, "refuse"))[1].ends()
    assert isinstance(end, Failed)
    (end,) = ask(drawer, request(1, "broken"))[1].ends()
    assert isinstance(end, Failed) and isinstance(end.error, ImageError)
    assert isinstance(ask(drawer, request(1))[1].ends()[0], Drawn)


def test_of_a_batch_that_fails_the_others_are_drawn(drawer: Drawer, engine: Held) -> None:
    ask(drawer, request(1))
    engine.began()
    _, bad = ask(drawer, request(2, "crash"))
    _, good = ask(drawer, request(3))
    engine.permits.release(100)
    assert isinstance(good.ends()[0], Drawn)
    assert isinstance(bad.ends()[0], Failed)


def test_what_the_model_cannot_draw_is_refused_with_its_field(drawer: Drawer) -> None:
    (end,) = ask(drawer, request(1, width=104))[1].ends()
    assert isinstance(end, Failed) and isinstance(end.error, InputError)
    assert end.error.field == "width"


def test_what_a_model_that_cannot_be_loaded_was_asked_for_fails_alone() -> None:
    def load(model: str) -> Any:
        if model == "gone":
            raise ModelUnavailable("it is gone")
        return Held(held=False)

    drawer = Drawer(load)
    drawer.start()
    _, bad = ask(drawer, request(1, model="gone"), request(2, model="gone"))
    assert [type(end) for end in bad.ends()] == [Failed, Failed]
    assert isinstance(ask(drawer, request(3))[1].ends()[0], Drawn)
    assert drawer.stop(20)


def test_an_error_in_the_run_itself_ends_no_thread(engine: Held) -> None:
    sizes = iter([None])

    def choose(engine: Any, request: Any) -> int:
        if next(sizes, 1) is None:
            raise RuntimeError("no size")
        return 4

    drawer = Drawer(lambda model: engine, Policy(choose=choose))
    drawer.start()
    engine.permits.release(100)
    (end,) = ask(drawer, request(1))[1].ends()
    assert isinstance(end, Failed) and str(end.error) == "no size"
    assert isinstance(ask(drawer, request(2))[1].ends()[0], Drawn)
    assert drawer.stop(20)
    assert not drawer.queue.any_cancelled


def test_a_drawer_that_stops_tells_all_that_wait(engine: Held) -> None:
    drawer = Drawer(lambda model: engine)
    drawer.start()
    _, told = ask(drawer, request(1, steps=50), request(2, width=96))
    engine.began()
    engine.permits.release()
    assert drawer.stop(20)
    assert all(isinstance(end, Failed) and isinstance(end.error, Dropped) for end in told.ends())
    assert drawer.pending == 0
    with pytest.raises(Dropped, match="stopping"):
        ask(drawer, request(3))


def test_each_picture_that_was_drawn_is_observed_with_its_time(engine: Held) -> None:
    observed: list[tuple[int, float]] = []
    drawer = Drawer(lambda model: engine, observed=lambda image, s: observed.append((image.request.seed, s)))
    drawer.start()
    engine.permits.release(2)
    ask(drawer, request(1))[1].ends()
    ask(drawer, request(2, "broken"))[1].ends()
    assert drawer.stop(20)
    assert [seed for seed, _ in observed] == [1]
    assert observed[0][1] >= 0


def test_partial_pictures_part_the_way_evenly() -> None:
    assert Partials(3).steps(20) == [5, 10, 15]
    assert Partials(1).steps(20) == [10]
    assert Partials(3).steps(2) == [1]
    assert Partials(3).steps(1) == []
