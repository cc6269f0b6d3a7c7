"""Feeds: tasks of several models in any order, known beforehand or coming one by one."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from limits import within

from sdgen.batch.feeds import Feed, Stream
from sdgen.batch.model_changes import LOOKAHEAD
from sdgen.batch.tasks import Rejected, Task
from sdgen.request import Request


def task(number: int, model: str | None) -> Task:
    return Task(Request(prompt="x", seed=number, model=model), number)


def taken(feed: Feed, model: str | None) -> list[int]:
    """Numbers of what a feed has for a model, taken; -1 for what is rejected."""
    numbers = []
    while (item := feed.head(False, model)) is not None:
        feed.take()
        numbers.append(item.number if isinstance(item, Task) else -1)
    return numbers


def streamed(*items: Task | Rejected) -> Stream:
    """A stream of which everything has come."""
    stream = Stream(iter(items), lambda: False)
    within(10, lambda: stream.head(wait=True))
    stream._thread.join(10)
    return stream


def test_known_tasks_come_model_after_model() -> None:
    feed = Feed([task(1, "a"), task(2, None), task(3, "a"), task(4, "b"), task(5, None)])
    assert feed.tasks is not None
    assert [known.number for known in feed.tasks] == [1, 3, 2, 5, 4]
    assert [taken(feed, model) for model in ("a", None, "b")] == [[1, 3], [2, 5], [4]]
    assert feed.head(wait=True) is None


def test_what_has_come_for_a_model_overtakes_what_is_for_another() -> None:
    stream = streamed(task(1, "a"), task(2, "b"), task(3, "a"), task(4, "b"))
    assert taken(stream, "a") == [1, 3]
    first = stream.head(wait=True)
    assert isinstance(first, Task) and first.number == 2
    assert taken(stream, "b") == [2, 4]


def test_nothing_overtakes_what_is_rejected() -> None:
    stream = streamed(task(1, "a"), task(2, "b"), Rejected("no"), task(4, "a"))
    assert taken(stream, "a") == [1]
    assert taken(stream, "b") == [2, -1]
    assert taken(stream, "a") == [4]


def test_another_model_s_task_is_overtaken_a_bounded_number_of_times() -> None:
    def endless() -> Iterator[Task]:
        yield task(0, "b")
        for number in range(1, 4 * LOOKAHEAD):
            yield task(number, "a")

    stream = Stream(endless(), lambda: False)
    within(10, lambda: stream.head(wait=True))
    count = 0
    while count < 4 * LOOKAHEAD and within(10, lambda: next_for_a(stream)):
        count += 1
    assert count == LOOKAHEAD
    assert taken(stream, "b") == [0]


def next_for_a(stream: Stream) -> bool:
    """Take a task for model a, waiting for it to come; False where b's must not be overtaken again."""
    while stream.head(False, "a") is None:
        if stream._changes.overtaken == LOOKAHEAD:
            return False
    stream.take()
    return True


def test_what_ends_a_stream_is_raised_after_what_came_before() -> None:
    def items() -> Iterator[Task]:
        yield task(1, "a")
        raise ValueError("torn")

    stream = Stream(items(), lambda: False)
    first = within(10, lambda: stream.head(wait=True))
    stream._thread.join(10)
    assert isinstance(first, Task)
    assert taken(stream, "b") == []
    stream.take()
    with pytest.raises(ValueError, match="torn"):
        stream.head(wait=True)
    assert stream.head(wait=True) is None


def test_a_stream_is_read_from_when_it_is_asked() -> None:
    before = threading.active_count()
    stream = Stream(iter([task(1, "a")]), lambda: False)
    assert threading.active_count() == before
    assert within(10, lambda: stream.head(wait=True)) is not None


def test_a_stream_that_nobody_asked_ends() -> None:
    assert within(10, Stream(iter([task(1, "a")]), lambda: False).end) == []
