"""YAML: a list of maps and strings.

A scalar is text, read as its field's type, so that a prompt ``on``, ``1:30`` or ``2024-01-01`` stays what it
is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from sdgen.prompts import sources
from sdgen.prompts.entries import Entry, Fault
from sdgen.prompts.nodes import List, Map, Scalar, Wrong, name_of, pairs
from sdgen.prompts.yaml_nodes import KINDS, MAX_TAKEN_OVER, TOO_MUCH, composed

MAX_DOCUMENT = 4 * sources.MIB
MAX_KEYS = 200
"""Keys of one map, merged ones included."""


def entries(stream: BinaryIO) -> Iterator[Entry | Fault]:
    """Entries of a list, of an object with such a list as ``requests``, or of one map."""
    text = sources.whole(stream, MAX_DOCUMENT)
    if isinstance(text, Fault):
        yield text
        return
    try:
        root = composed(text)
        if isinstance(root, Map):
            names = [(name_of(key), key, value) for key, value in pairs(root)]
            if "requests" not in [name for name, _, _ in names]:
                yield _entry(root)
                return
            for name, key, value in names:
                if name == "requests":
                    root = value
                elif not name.startswith("."):  # Anchors for maps that entries merge have no other place.
                    yield Fault(key.line, f"unknown field {name[:60]!r} beside 'requests'", name)
        if isinstance(root, List):
            yield from _listed(root)
        elif root is not None:
            yield Fault(root.line, "the file is not a list of maps and strings")
    except Wrong as wrong:
        yield wrong.fault


def _listed(root: List) -> Iterator[Entry | Fault]:
    """The elements of the list of entries."""
    seen: set[int] = set()
    taken_over = 0
    for item in root.items:
        if isinstance(item, Map):
            taken_over += len(item.fields) if id(item) in seen else 0
            seen.add(id(item))
            if taken_over > MAX_TAKEN_OVER:
                raise Wrong(item.line, TOO_MUCH)
            yield _entry(item)
        elif isinstance(item, Scalar) and isinstance(item.value, str):
            yield Entry(item.line, {"prompt": item.value})
        else:
            yield Fault(item.line, "the entry is neither a map nor a string")


def _entry(node: Map) -> Entry | Fault:
    if len(node.fields) > MAX_KEYS:
        return Fault(node.line, f"the map has more than {MAX_KEYS} keys")
    if node.tag not in KINDS:
        return Fault(node.line, f"the entry has the tag {node.tag!r}; leave the tag out")
    values = {name: value for name, (value, _) in node.fields.items()}
    return Entry(node.line, values, lines={name: line for name, (_, line) in node.fields.items()})
