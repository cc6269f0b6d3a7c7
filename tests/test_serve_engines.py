"""Which models a server keeps."""

from __future__ import annotations

from typing import Any

import pytest
import stand_in

from sdgen.serve.engines import Engines, free_bytes, weight_bytes


def kept(sizes: dict[str, int], memory: int) -> tuple[Engines, list[str]]:
    """Models of these sizes in a memory of so many bytes; and the names in the order of loading."""
    loads: list[str] = []

    def load(name: str) -> Any:
        loads.append(name)
        return stand_in.Pipeline()

    engines = Engines(load, sizes.__getitem__, lambda engine: memory - sum(map(sizes.get, engines.kept)))
    return engines, loads


def test_a_model_that_was_drawn_with_stays() -> None:
    engines, loads = kept({"a": 1, "b": 1}, 100)
    assert engines("a") is engines("a")
    assert engines("b") is not engines("a")
    assert loads == ["a", "b"]


def test_the_model_longest_unused_gives_way_where_memory_is_short() -> None:
    engines, loads = kept({"a": 10, "b": 10, "c": 10}, 39)
    for name in ("a", "b", "a", "c"):
        engines(name)
    assert engines.kept == ("a", "c")
    engines("b")
    assert loads == ["a", "b", "c", "b"]


def test_without_knowing_the_memory_one_model_is_kept() -> None:
    engines = Engines(lambda name: stand_in.Pipeline(), lambda name: 1, lambda engine: None)
    engines("a")
    engines("b")
    assert engines.kept == ("b",)


def test_others_give_way_to_a_model_for_which_memory_ran_out() -> None:
    def load(name: str) -> Any:
        if name == "b" and engines.kept:
            raise MemoryError
        return stand_in.Pipeline()

    engines = Engines(load, lambda name: 1, lambda engine: 100)
    engines("a")
    engines("b")
    assert engines.kept == ("b",)


def test_an_error_of_loading_is_the_callers() -> None:
    def load(name: str) -> Any:
        raise MemoryError

    with pytest.raises(MemoryError):
        Engines(load)("a")


def test_the_size_of_a_model_is_that_of_its_files() -> None:
    assert 40e6 < weight_bytes("mini") < 60e6
    assert (free_bytes(stand_in.Pipeline()) or 0) > 0
