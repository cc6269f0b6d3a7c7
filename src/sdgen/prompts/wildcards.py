"""Wildcard files: .txt with a value a line, .json and .yaml with lists of values under names.

The names are those of dynamicprompts: a .txt file and a list alone are named by their path below the folder,
a list in a map by its keys, below the folder that the file is in. Values are text as it is written: numbers,
booleans and dates too. What cannot be a value is an error with its file and line, told when its name is used;
a file that cannot be read is one when a name is not found, or is a pattern that might have meant its names.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from dynamicprompts.wildcards import WildcardManager
from dynamicprompts.wildcards.collection import WildcardCollection
from dynamicprompts.wildcards.item import WildcardItem
from dynamicprompts.wildcards.tree import WildcardTree
from dynamicprompts.wildcards.values import WildcardValues

from sdgen.errors import InputError
from sdgen.files.user_files import open_regular
from sdgen.prompts import sources
from sdgen.prompts.combinations import MAX_SIGNS, too_long
from sdgen.prompts.entries import Fault
from sdgen.prompts.json_walk import MAX_DEPTH, Walk
from sdgen.prompts.nodes import List, Map, Node, Scalar, Wrong, kind_of, name_of, pairs
from sdgen.request import MAX_PROMPT
from sdgen.text import numerals

MAX_TEXT, MAX_JSON, MAX_YAML = 16 * sources.MIB, 16 * sources.MIB, 4 * sources.MIB
MAX_FILES = 20_000
"""Files below a wildcards folder."""
MAX_LISTS = 100_000
"""Lists of values in one file."""
MAX_WEIGHT = 1000.0
MAX_LOOKUPS = 1000
"""Wildcards that one template asks for, those in values included."""
_MOST_SEARCHES = 20
_MOST_COMPARED = 2000
"""How often a similar name is looked for, and among how many names."""

_WEIGHT = re.compile(r"([0-9][0-9.]{0,30})::(.*)", re.DOTALL)
_Item = str | WildcardItem


class Wildcards(WildcardManager):  # type: ignore[misc, unused-ignore]
    """The wildcards of a folder. A missing or wrong one is an error here; dynamicprompts leaves it out.

    Args:
        folder: an existing folder, or None for no wildcards.

    Attributes:
        lookups: how often values were asked for; a template may do so ``MAX_LOOKUPS`` times.
    """

    def __init__(self, folder: Path | None) -> None:
        super().__init__()
        self._folder = folder
        self._broken: list[InputError] = []
        self._searches = 0
        self.lookups = 0

    @property
    def tree(self) -> WildcardTree:
        """The collections, by name. The folder is looked through once."""
        if self._tree is None:
            found: dict[str, WildcardCollection] = {}
            for path, name in _files(self._folder) if self._folder else ():
                try:
                    found.update(_collections(path, name))
                except InputError as error:
                    self._broken.append(error)
            self._tree = WildcardTree.from_map(found)
        return self._tree

    def get_values(self, wildcard: str) -> WildcardValues:
        """The values of a name or pattern.

        Raises:
            InputError: there are none, or one of them cannot be read.
        """
        self.lookups += 1
        if self.lookups > MAX_LOOKUPS:
            raise InputError(f"the template asks for a wildcard more than {MAX_LOOKUPS:,} times")
        values: WildcardValues = super().get_values(wildcard)
        if self._broken and (not values or any(sign in wildcard for sign in "*?[")):
            raise self._broken[0]
        if values:
            return values
        if self._folder is None:
            raise InputError(f"the template has the wildcard __{wildcard}__ and no wildcards folder is given")
        names = sorted(self.get_collection_names())
        if wildcard in names:
            raise InputError(f"the wildcard __{wildcard}__ of {str(self._folder)!r} has no values")
        close: list[str] = []
        if self._searches < _MOST_SEARCHES:
            self._searches += 1
            close = difflib.get_close_matches(wildcard[:60], names[:_MOST_COMPARED], n=1)
        advice = f"; did you mean __{close[0]}__?" if close else ""
        raise InputError(f"the folder {str(self._folder)!r} has no wildcard __{wildcard}__{advice}")


class Unweighted(WildcardManager):  # type: ignore[misc, unused-ignore]
    """The same wildcards, each value once: where all are drawn, none is drawn more often."""

    def __init__(self, wildcards: Wildcards) -> None:
        super().__init__()
        self._wildcards = wildcards
        self._once: dict[str, WildcardValues] = {}

    def get_values(self, wildcard: str) -> WildcardValues:
        """As ``Wildcards.get_values``."""
        if wildcard not in self._once:
            values = self._wildcards.get_values(wildcard)
            self._once[wildcard] = WildcardValues.from_items(dict.fromkeys(values.string_values))
        return self._once[wildcard]


class _Values(WildcardCollection):  # type: ignore[misc, unused-ignore]
    """Values that are read when they are first asked for."""

    def __init__(self, read: Callable[[], list[_Item]]) -> None:
        self._read = read
        self._values: list[_Item] | None = None

    def get_values(self) -> list[_Item]:
        if self._values is None:
            self._values = self._read()
        return self._values


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Wildcard files with their names; each folder once, whatever links lead to it."""
    seen: set[tuple[int, int]] = set()
    count = 0
    for where, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(where)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        count += len(files)
        if count > MAX_FILES:
            raise InputError(f"the wildcards folder {str(folder)!r} has more than {MAX_FILES:,} files")
        for file in sorted(files):
            path = Path(where, file)
            if path.suffix in (".txt", ".json", ".yaml", ".yml"):
                yield path, path.relative_to(folder).with_suffix("").as_posix()


def _collections(path: Path, name: str) -> dict[str, WildcardCollection]:
    """What one file defines.

    Raises:
        InputError: it cannot be read; for a text file when its values are asked for.
    """
    if path.suffix == ".txt":
        return {name: _Values(lambda: _lines(path))}
    try:
        root = _root(path)
        if isinstance(root, List):
            return {name: _Values(lambda: _listed(path, root))}
        if not isinstance(root, Map):
            raise Wrong(root.line if root else 1, "the file is neither a list nor a map of lists")
        found: dict[str, WildcardCollection] = {}
        parent = name.rpartition("/")[0]
        for key, node in _leaves(root, (parent,) if parent else (), iter(range(MAX_LISTS))):
            found[key] = _Values(lambda node=node: _listed(path, node))  # type: ignore[misc]
    except Wrong as wrong:
        raise _error(path, wrong.fault) from None
    return found


def _root(path: Path) -> Node | None:
    json = path.suffix == ".json"
    with _opened(path) as file:
        text = sources.whole(file, MAX_JSON if json else MAX_YAML)
    if isinstance(text, Fault):
        raise _error(path, text)
    if not json:
        from sdgen.prompts.yaml_nodes import composed

        return composed(text)
    walk = Walk(text)
    if not walk.peek():
        return None
    root = walk.node()
    if walk.peek():
        raise walk.wrong("Extra data", "")
    return root


def _leaves(root: Map, prefix: tuple[str, ...], left: Iterator[int]) -> Iterator[tuple[str, Node]]:
    """Lists and single values in a map of maps, by the keys that lead to them; merged ones first.

    Aliases may make maps contain themselves, or many times what they are: ``left`` counts what is looked at.
    """
    if len(prefix) > MAX_DEPTH:
        raise Wrong(root.line, f"the maps are nested too deeply; the most is {MAX_DEPTH}")
    for merging in (True, False):
        for key, value in pairs(root):
            if next(left, None) is None:
                raise Wrong(
                    key.line, f"the file has more than {MAX_LISTS:,} lists and maps, aliases included"
                )
            merge = isinstance(key, Scalar) and key.merge
            path = prefix if merge else (*prefix, name_of(key))
            if merge is not merging:
                continue
            for node in value.items if merge and isinstance(value, List) else [value]:
                if isinstance(node, Map):
                    yield from _leaves(node, path, left)
                elif not merge:
                    yield "/".join(path), node


def _listed(path: Path, node: Node) -> list[_Item]:
    """The values of a list, or one value alone; empty ones are left out.

    Raises:
        InputError: an item is no value.
    """
    found: list[_Item] = []
    for item in node.items if isinstance(node, List) else [node]:
        if isinstance(item, Map):
            found.append(_weighted(path, item))
        elif not isinstance(item, Scalar):
            raise _error(path, Fault(item.line, f"a value is a {kind_of(item)}; write it as text"))
        elif item.value is not None and not isinstance(item.value, str):
            raise _error(path, Fault(item.line, f"a value {item.value.reason}"))
        elif item.value:
            _bounded(path, item.line, item.value)
            match = _WEIGHT.fullmatch(item.value)
            weight = numerals.real(match[1]) if match else None
            if match and weight is not None:
                found.append(WildcardItem(content=match[2], weight=_checked(path, item.line, weight)))
            else:
                found.append(item.value)
    return found


def _weighted(path: Path, item: Map) -> _Item:
    """A map of a text and its weight: {text: fox, weight: 2}."""
    values = {name_of(key): value for key, value in pairs(item)}
    content = values.get("text", values.get("content"))
    weight = values.get("weight")
    if (
        not isinstance(content, Scalar)
        or not isinstance(content.value, str)
        or not values.keys() <= {"text", "content", "weight"}
    ):
        raise _error(
            path,
            Fault(item.line, "a value is a map; quote text that has ': ', or write {text: ..., weight: 2}"),
        )
    _bounded(path, content.line, content.text)
    if weight is None:
        return content.text
    number = numerals.real(weight.text) if isinstance(weight, Scalar) else None
    return WildcardItem(content=content.text, weight=_checked(path, weight.line, number))


def _checked(path: Path, line: int, weight: float | None) -> float:
    if weight is None or not 0 < weight <= MAX_WEIGHT:
        raise _error(path, Fault(line, f"a weight must be a number above 0, up to {MAX_WEIGHT:g}"))
    return weight


def _lines(path: Path) -> list[_Item]:
    """The lines of a text file that are neither blank nor comments."""
    found: list[_Item] = []
    with _opened(path) as file:
        for line in sources.lines(file):
            if isinstance(line, Fault):
                raise _error(path, line)
            if (text := line[1].strip()) and not text.startswith("#"):
                found.append(_bounded(path, line[0], text))
    return found


def _bounded(path: Path, line: int, text: str) -> str:
    """The text of a value, if it is one that a template may take in."""
    if len(text) > MAX_PROMPT or too_long(text):
        most = f"{MAX_PROMPT:,} characters and {MAX_SIGNS:,} options"
        raise _error(path, Fault(line, f"a value is too long; the most is {most}"))
    return text


def _opened(path: Path) -> BinaryIO:
    try:
        return open_regular(path, MAX_TEXT)
    except OSError as error:
        raise InputError(f"the wildcard file {str(path)!r} cannot be read: {error.strerror}") from None


def _error(path: Path, fault: Fault) -> InputError:
    return InputError(f"{path}:{fault.line}: {fault.message}")
