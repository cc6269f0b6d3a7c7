"""What YAML and JSON files are made of, with lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from sdgen.prompts.entries import Fault, Unusable


@dataclasses.dataclass(slots=True)
class Scalar:
    """A scalar: its text, and the value that it has in a field."""

    line: int
    text: str
    value: str | Unusable | None
    merge: bool


@dataclasses.dataclass(slots=True)
class List:
    line: int
    tag: str | None
    items: list[Node] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Map:
    """A map; ``fields`` are its values with their lines, merged ones included."""

    line: int
    tag: str | None
    items: list[Node] = dataclasses.field(default_factory=list)
    fields: dict[str, tuple[Any, int]] = dataclasses.field(default_factory=dict)


Node = Scalar | List | Map


class Wrong(Exception):
    """A file cannot be read; ``fault`` says where and why."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(line, message)


def pairs(node: Map) -> Iterator[tuple[Node, Node]]:
    return zip(node.items[::2], node.items[1::2], strict=False)


def name_of(key: Node) -> str:
    return key.text if isinstance(key, Scalar) else f"({kind_of(key)})"


def kind_of(node: List | Map) -> str:
    return "list" if isinstance(node, List) else "map"
