"""YAML: a list of maps and strings.

Only the structure is taken from YAML, from libyaml's events; nothing is constructed. A scalar is text, read
as its field's type, so that a prompt ``on``, ``1:30`` or ``2024-01-01`` stays what it is.
"""

from __future__ import annotations

import bisect
import dataclasses
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import yaml
from yaml import events

from sdgen.prompts import sources
from sdgen.prompts.entries import Entry, Fault, Unusable

MAX_DOCUMENT = 4 * sources.MIB
MAX_DEPTH = 100
"""Lists and maps inside each other."""
MAX_KEYS = 200
"""Keys of one map, merged ones included."""
MAX_NODES = 500_000
"""Maps, lists, keys, values and aliases."""
MAX_TAKEN_OVER = 500_000
"""Fields that ``<<`` and aliases (``*name``) bring into the entries of a file, together."""

_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "timestamp", "value", "merge"))
_KINDS = (None, "!", _TAG + "map", _TAG + "seq")
_NULLS = ("", "~", "null", "Null", "NULL")
_TOO_MUCH = f"merges and aliases make more than {MAX_TAKEN_OVER:,} fields"
_DEEP = f"the YAML is nested too deeply; the most is {MAX_DEPTH}"
_OTHER_ENDS = re.compile("[\x85\u2028\u2029]")
"""Ends of lines for YAML, and for no editor."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclasses.dataclass(slots=True)
class _Scalar:
    """A scalar: its text, and what it is as a field's value."""

    line: int
    text: str
    value: str | Unusable | None
    merge: bool


@dataclasses.dataclass(slots=True)
class _List:
    line: int
    tag: str | None
    items: list[_Node] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class _Map:
    """A map; ``fields`` are its values with their lines, merged ones included."""

    line: int
    tag: str | None
    items: list[_Node] = dataclasses.field(default_factory=list)
    fields: dict[str, tuple[Any, int]] = dataclasses.field(default_factory=dict)


_Node = _Scalar | _List | _Map


class _Wrong(Exception):
    """The file cannot be read."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.fault = Fault(line, message)


def entries(stream: BinaryIO) -> Iterator[Entry | Fault]:
    """Entries of a list, of an object with such a list as ``requests``, or of one map."""
    text = sources.whole(stream, MAX_DOCUMENT)
    if isinstance(text, Fault):
        yield text
        return
    try:
        root = _composed(text)
        if isinstance(root, _Map):
            names = [(_name(key), key, value) for key, value in _pairs(root)]
            if "requests" not in [name for name, _, _ in names]:
                yield _entry(root)
                return
            for name, key, value in names:
                if name == "requests":
                    root = value
                elif not name.startswith("."):  # Anchors for maps that entries merge have no other place.
                    yield Fault(key.line, f"unknown field {name[:60]!r} beside 'requests'", name)
        if isinstance(root, _List):
            yield from _listed(root)
        elif root is not None:
            yield Fault(root.line, "the file is not a list of maps and strings")
    except _Wrong as wrong:
        yield wrong.fault


def _listed(root: _List) -> Iterator[Entry | Fault]:
    """The elements of the list of entries."""
    seen: set[int] = set()
    taken_over = 0
    for item in root.items:
        if isinstance(item, _Map):
            taken_over += len(item.fields) if id(item) in seen else 0
            seen.add(id(item))
            if taken_over > MAX_TAKEN_OVER:
                raise _Wrong(item.line, _TOO_MUCH)
            yield _entry(item)
        elif isinstance(item, _Scalar) and isinstance(item.value, str):
            yield Entry(item.line, {"prompt": item.value})
        else:
            yield Fault(item.line, "the entry is neither a map nor a string")


def _entry(node: _Map) -> Entry | Fault:
    if len(node.fields) > MAX_KEYS:
        return Fault(node.line, f"the map has more than {MAX_KEYS} keys")
    if node.tag not in _KINDS:
        return Fault(node.line, f"the entry has the tag {node.tag!r}; leave the tag out")
    values = {name: value for name, (value, _) in node.fields.items()}
    return Entry(node.line, values, lines={name: line for name, (_, line) in node.fields.items()})


def _composed(text: str) -> _Node | None:
    """The root of the document, or None for an empty one."""
    if bad := yaml.reader.Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        raise _Wrong(line, f"the line holds the character U+{ord(bad[0]):04X}, which YAML does not allow")
    line_of = _Lines(text)
    composer = _Composer(line_of)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        sentence = _DEEP if "nesting depth" in reason else f"the file is not YAML: {reason}"
        raise _Wrong(line_of(mark) if mark else 1, sentence) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML's own loader lets the latter out, for escapes and version numbers beyond all bounds.
        raise _Wrong(composer.line, f"the file is not YAML: {error}") from None
    return composer.root


class _Lines:
    """Finds the line of a mark as editors count it, from 1."""

    def __init__(self, text: str) -> None:
        ends = re.finditer("\n", text) if _OTHER_ENDS.search(text) else ()
        self._ends = [end.start() for end in ends]

    def __call__(self, mark: Any) -> int:
        return 1 + (bisect.bisect_left(self._ends, mark.index) if self._ends else int(mark.line))


class _Composer:
    """Builds nodes of events.

    Attributes:
        root: the document's root.
        line: of the last event.
    """

    def __init__(self, line_of: _Lines) -> None:
        self.root: _Node | None = None
        self.line = 1
        self._line_of = line_of
        self._anchors: dict[str, _Node] = {}
        self._open: list[_List | _Map] = []
        self._taken_over = 0
        self._nodes = 0

    def take(self, event: Any) -> None:
        """Add what an event says.

        Raises:
            _Wrong: it is more than is read, or means nothing.
        """
        self.line = self._line_of(event.start_mark)
        kind = type(event)
        if kind in (events.SequenceEndEvent, events.MappingEndEvent):
            node = self._open.pop()
            if isinstance(node, _Map):
                self._finish(node)
            return
        if kind is events.ScalarEvent:
            added: _Node = _scalar(event, self.line)
        elif kind is events.AliasEvent:
            if event.anchor not in self._anchors:
                raise _Wrong(
                    self.line, f"the file is not YAML: there is no anchor &{event.anchor[:60]} before"
                )
            self._add(self._anchors[event.anchor])
            return
        elif kind in (events.SequenceStartEvent, events.MappingStartEvent):
            added = (_List if kind is events.SequenceStartEvent else _Map)(self.line, event.tag)
        else:
            if kind is events.DocumentStartEvent and self.root is not None:
                raise _Wrong(self.line, "the file holds more than one YAML document; join their lists")
            return
        if event.anchor:
            self._anchors[event.anchor] = added
        self._add(added)
        if not isinstance(added, _Scalar):
            self._open.append(added)
            if len(self._open) > MAX_DEPTH:
                raise _Wrong(self.line, _DEEP)

    def _add(self, node: _Node) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _Wrong(
                self.line, f"the file has more than {MAX_NODES:,} values; JSONL and CSV have no such limit"
            )
        if self._open:
            self._open[-1].items.append(node)
        else:
            self.root = node

    def _finish(self, node: _Map) -> None:
        """Fill in the fields of a map: its own, then those of the maps that it merges, the first first."""
        merged: dict[str, tuple[Any, int]] = {}
        for key, value in _pairs(node):
            if isinstance(key, _Scalar) and key.merge:
                for other in value.items if isinstance(value, _List) else [value]:
                    if isinstance(other, _Map):
                        merged = {**other.fields, **merged}
                        self._taken_over += len(merged)
                        if self._taken_over > MAX_TAKEN_OVER:
                            raise _Wrong(key.line, _TOO_MUCH)
                    else:
                        node.fields["<<"] = (Unusable("must be a map"), key.line)
            else:
                name = _name(key)
                twice = name in node.fields
                node.fields[name] = (Unusable("is given twice") if twice else _value(value), key.line)
        node.fields = {**merged, **node.fields}


def _pairs(node: _Map) -> Iterator[tuple[_Node, _Node]]:
    return zip(node.items[::2], node.items[1::2], strict=False)


def _name(key: _Node) -> str:
    return key.text if isinstance(key, _Scalar) else f"({_kind(key)})"


def _value(node: _Node) -> Any:
    return node.value if isinstance(node, _Scalar) else Unusable(f"must be one value, not a {_kind(node)}")


def _kind(node: _List | _Map) -> str:
    return "list" if isinstance(node, _List) else "map"


def _scalar(event: Any, line: int) -> _Scalar:
    text, tag = event.value, event.tag
    plain = tag is None and event.implicit[0]
    if tag == _TAG + "null" or (plain and text in _NULLS):
        value: str | Unusable | None = None
    elif tag in (None, "!") or tag in _SCALARS:
        value = text
    else:
        value = Unusable(f"has the tag {tag!r}; leave the tag out")
    return _Scalar(line, text, value, merge=tag == _TAG + "merge" or (plain and text == "<<"))
