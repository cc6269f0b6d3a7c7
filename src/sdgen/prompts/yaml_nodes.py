"""The structure of YAML, with lines and within bounds, from libyaml's events; nothing is constructed."""

from __future__ import annotations

import bisect
import re
from typing import Any

import yaml
from yaml import events

from sdgen.prompts.entries import Unusable
from sdgen.prompts.nodes import List, Map, Node, Scalar, Wrong, kind_of, name_of, pairs

MAX_DEPTH = 100
"""Lists and maps inside each other."""
MAX_NODES = 300_000
"""Maps, lists, keys, values and aliases."""
MAX_TAKEN_OVER = 500_000
"""Fields that ``<<`` and aliases (``*name``) bring into the entries of a file, together."""

_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "timestamp", "value", "merge"))
KINDS = (None, "!", _TAG + "map", _TAG + "seq")
_NULLS = ("", "~", "null", "Null", "NULL")
TOO_MUCH = f"merges and aliases make more than {MAX_TAKEN_OVER:,} fields"
DEEP = f"the YAML is nested too deeply; the most is {MAX_DEPTH}"
_OTHER_ENDS = re.compile("[\x85\u2028\u2029]")
"""Ends of lines for YAML, and for no editor."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def composed(text: str) -> Node | None:
    """The root of the document, or None for an empty one."""
    if bad := yaml.reader.Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        raise Wrong(line, f"the line holds the character U+{ord(bad[0]):04X}, which YAML does not allow")
    line_of = _Lines(text)
    composer = _Composer(line_of if line_of.differs else None)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        sentence = DEEP if "nesting depth" in reason else f"the file is not YAML: {reason}"
        raise Wrong(line_of(mark) if mark else 1, sentence) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML's own loader lets the latter out, for escapes and version numbers beyond all bounds.
        raise Wrong(composer.line, f"the file is not YAML: {error}") from None
    return composer.root


class _Lines:
    """Finds the line of a mark as editors count it, from 1.

    Attributes:
        differs: whether YAML counts otherwise in this text.
    """

    def __init__(self, text: str) -> None:
        self.differs = _OTHER_ENDS.search(text) is not None
        self._ends = [end.start() for end in re.finditer("\n", text)] if self.differs else []

    def __call__(self, mark: Any) -> int:
        return 1 + (bisect.bisect_left(self._ends, mark.index) if self.differs else int(mark.line))


class _Composer:
    """Builds nodes of events.

    Attributes:
        root: the document's root.
        line: of the last event.
    """

    def __init__(self, line_of: _Lines | None) -> None:
        self.root: Node | None = None
        self.line = 1
        self._line_of = line_of
        self._anchors: dict[str, Node] = {}
        self._open: list[List | Map] = []
        self._taken_over = 0
        self._nodes = 0

    def take(self, event: Any) -> None:
        """Add what an event says.

        Raises:
            Wrong: it is more than is read, or means nothing.
        """
        kind = type(event)
        self.line = self._line_of(event.start_mark) if self._line_of else event.start_mark.line + 1
        if kind in (events.SequenceEndEvent, events.MappingEndEvent):
            node = self._open.pop()
            if isinstance(node, Map):
                self._finish(node)
            return
        if kind is events.ScalarEvent:
            added: Node = _scalar(event, self.line)
        elif kind is events.AliasEvent:
            if event.anchor not in self._anchors:
                raise Wrong(
                    self.line, f"the file is not YAML: there is no anchor &{event.anchor[:60]} before"
                )
            self._add(self._anchors[event.anchor])
            return
        elif kind in (events.SequenceStartEvent, events.MappingStartEvent):
            added = (List if kind is events.SequenceStartEvent else Map)(self.line, event.tag)
        else:
            if kind is events.DocumentStartEvent and self.root is not None:
                raise Wrong(self.line, "the file holds more than one YAML document; join their lists")
            return
        if event.anchor:
            self._anchors[event.anchor] = added
        self._add(added)
        if not isinstance(added, Scalar):
            self._open.append(added)
            if len(self._open) > MAX_DEPTH:
                raise Wrong(self.line, DEEP)

    def _add(self, node: Node) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Wrong(
                self.line, f"the file has more than {MAX_NODES:,} values; JSONL and CSV have no such limit"
            )
        if self._open:
            self._open[-1].items.append(node)
        else:
            self.root = node

    def _finish(self, node: Map) -> None:
        """Fill in the fields of a map: its own, then those of the maps that it merges, the first first."""
        merged: dict[str, tuple[Any, int]] = {}
        for key, value in pairs(node):
            if isinstance(key, Scalar) and key.merge:
                for other in value.items if isinstance(value, List) else [value]:
                    if isinstance(other, Map):
                        merged = {**other.fields, **merged}
                        self._taken_over += len(merged)
                        if self._taken_over > MAX_TAKEN_OVER:
                            raise Wrong(key.line, TOO_MUCH)
                    else:
                        node.fields["<<"] = (Unusable("must be a map"), key.line)
            else:
                name = name_of(key)
                twice = name in node.fields
                node.fields[name] = (Unusable("is given twice") if twice else _value(value), key.line)
        node.fields = {**merged, **node.fields}


def _value(node: Node) -> Any:
    return node.value if isinstance(node, Scalar) else Unusable(f"must be one value, not a {kind_of(node)}")


def _scalar(event: Any, line: int) -> Scalar:
    text, tag = event.value, event.tag
    plain = tag is None and event.implicit[0]
    if tag == _TAG + "null" or (plain and text in _NULLS):
        value: str | Unusable | None = None
    elif tag in (None, "!") or tag in _SCALARS:
        value = text
    else:
        value = Unusable(f"has the tag {tag!r}; leave the tag out")
    return Scalar(line, text, value, merge=tag == _TAG + "merge" or (plain and text == "<<"))
