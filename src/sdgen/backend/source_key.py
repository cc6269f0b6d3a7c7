"""A digest of the source that a function comes from, which tells programs of one version from another's."""

from __future__ import annotations

import functools
import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent.parent
"""This package, whose modules import each other by their full names."""

_IMPORT = re.compile(
    rf"^[ \t]*(?:from[ ]({PACKAGE.name}[\w.]*)[ ]import[ ](?:\(([^)]*)\)|([^\n#]*))"
    rf"|import[ ]({PACKAGE.name}[\w., ]*))",
    re.MULTILINE,
)


def source_key(function: Callable[..., Any]) -> str:
    """The digest of every module of this package that a function comes from, hexadecimal.

    A function of another package counts by the file that it is in, and by what this package compiles it with.
    """
    module = _function_module(function)
    if module.partition(".")[0] == PACKAGE.name:
        return modules_key(module)
    source = getattr(sys.modules.get(module), "__file__", None)
    own = Path(source).read_bytes() if source and Path(source).is_file() else b""
    return hashlib.sha256(own + modules_key(__name__).encode()).hexdigest()


def _function_module(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return function.__module__


@functools.cache
def modules_key(module: str, package: Path = PACKAGE) -> str:
    """The digest of a module and of what it comes from, hexadecimal.

    Args:
        module: its full name, for example "sdgen.pipeline.sampling_loop".
        package: the folder of its package.
    """
    digest = hashlib.sha256()
    for path in sorted(sources(module, package)):
        text = path.read_bytes()
        digest.update(f"{path.relative_to(package)} {len(text)}\n".encode() + text)
    return digest.hexdigest()


def sources(module: str, package: Path = PACKAGE) -> set[Path]:
    """The files that a module comes from.

    In its own subpackage these are the modules that it imports, and those that they import in turn. Another
    subpackage is taken whole: what one of its modules makes may be handed to another, as a network is handed
    its attention.
    """
    found: set[Path] = set()
    first = module_file(module, package)
    assert first is not None, f"{module} is no module of {package}"
    waiting = [first]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        if path.parent not in (first.parent, package):
            waiting += path.parent.glob("*.py")
        if path.name == "__init__.py" and path.parent == package:
            continue  # What it offers to users of the package, it imports when they ask for it.
        for name in imports(path.read_text(encoding="utf-8")):
            if imported := module_file(name, package):
                waiting.append(imported)
    return found


def imports(source: str) -> Iterator[str]:
    """Full names of the modules that a source imports from this package, and of what may be one."""
    for parent, bracketed, listed, plain in _IMPORT.findall(source):
        for name in plain.split(",") if plain else ():
            yield name.split(" as ")[0].strip()
        if parent:
            yield parent
            for name in (bracketed or listed).split(","):
                if word := name.split("#")[0].split(" as ")[0].strip():
                    yield f"{parent}.{word}"


def module_file(name: str, package: Path = PACKAGE) -> Path | None:
    """The file of a module of this package; None for what is none, such as a function's name."""
    path = package.joinpath(*name.split(".")[1:])
    if path.with_suffix(".py").is_file() and path != package:
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None
