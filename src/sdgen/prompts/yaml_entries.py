"""YAML: a list of maps and strings.

Only the structure is taken from YAML (``SafeLoader.get_single_node``); nothing is constructed. A scalar is
text, read as its field's type, so that a prompt ``on``, ``1:30`` or ``2024-01-01`` stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from sdgen.prompts import sources
from sdgen.prompts.entries import Entry, Fault, Unusable

MAX_DOCUMENT = 4 * sources.MIB
_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "timestamp", "value", "merge"))
_NULL = _TAG + "null"
_MERGE = _TAG + "merge"
"""Of a key ``<<``, whose value is another map, or several, with fields that this one leaves out."""


def entries(stream: BinaryIO) -> Iterator[Entry | Fault]:
    """Entries of a list, of an object with such a list as ``requests``, or of one map."""
    text = sources.whole(stream, MAX_DOCUMENT)
    if isinstance(text, Fault):
        yield text
        return
    line = 1
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
        finally:
            line = loader.line + 1
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else line
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        yield Fault(line, f"the file is not YAML: {reason}")
        return
    except yaml.reader.ReaderError as error:
        line = 1 + text.count("\n", 0, error.position)
        yield Fault(line, f"the line holds the character U+{error.character:04X}, which YAML does not allow")
        return
    except (ValueError, OverflowError):
        # PyYAML lets them out for escapes and version numbers beyond all bounds.
        yield Fault(line, "the file is not YAML: a number in an escape or directive is too large")
        return
    except RecursionError:
        yield Fault(line, "the YAML is nested too deeply")
        return
    maps = _Maps()
    if isinstance(root, MappingNode):
        names = [(_name(key), key, value) for key, value in root.value]
        if "requests" in [name for name, _, _ in names]:
            for name, key, value in names:
                if name != "requests":
                    # Anchors for maps that entries merge have no other place.
                    if not name.startswith("."):
                        yield Fault(_line(key), f"unknown field {name[:60]!r} beside 'requests'", name)
                else:
                    root = value
        else:
            yield maps.entry(root)
            return
    if isinstance(root, SequenceNode):
        for item in root.value:
            if isinstance(item, MappingNode):
                yield maps.entry(item)
            elif isinstance(item, ScalarNode) and item.tag in _SCALARS:
                yield Entry(_line(item), {"prompt": item.value})
            else:
                yield Fault(_line(item), "the entry is neither a map nor a string")
    elif root is not None:
        yield Fault(_line(root), "the file is not a list of maps and strings")


class _Maps:
    """Fields of maps, each looked at once however often it is merged."""

    def __init__(self) -> None:
        self._known: dict[int, dict[str, tuple[Any, int]]] = {}

    def entry(self, node: MappingNode) -> Entry | Fault:
        try:
            found = self._fields(node)
        except RecursionError:
            self._known.clear()  # What was not finished.
            return Fault(_line(node), "the maps that it merges are nested too deeply")
        values = {name: value for name, (value, _) in found.items()}
        return Entry(_line(node), values, lines={name: line for name, (_, line) in found.items()})

    def _fields(self, node: MappingNode) -> dict[str, tuple[Any, int]]:
        if id(node) in self._known:
            return self._known[id(node)]
        self._known[id(node)] = {}  # For a map that merges itself.
        own: dict[str, tuple[Any, int]] = {}
        merged: dict[str, tuple[Any, int]] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for other in value.value if isinstance(value, SequenceNode) else [value]:
                    if isinstance(other, MappingNode):
                        merged = {**self._fields(other), **merged}
                    else:
                        own["<<"] = (Unusable("must be a map"), _line(key))
                continue
            name = _name(key)
            own[name] = (Unusable("is given twice") if name in own else _value(value), _line(key))
        self._known[id(node)] = {**merged, **own}
        return self._known[id(node)]


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _name(key: Node) -> str:
    return key.value if isinstance(key, ScalarNode) else f"({_kind(key)})"


def _value(node: Node) -> Any:
    if not isinstance(node, ScalarNode):
        return Unusable(f"must be one value, not a {_kind(node)}")
    if node.tag == _NULL:
        return None
    return node.value if node.tag in _SCALARS else Unusable(f"has the tag {node.tag!r}; leave the tag out")


def _kind(node: Node) -> str:
    return "list" if isinstance(node, SequenceNode) else "map"
