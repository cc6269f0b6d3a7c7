"""How the package is built: how long its functions are, and how many rooms it has."""

from __future__ import annotations

import ast
from pathlib import Path

import sdgen

PACKAGE = Path(sdgen.__file__).parent
MODULES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}

MOST_LINES_OF_A_FUNCTION = 60
MOST_LINES_OF_A_MODULE = 350
MOST_ENTRIES = 15
BESIDE = {"__init__.py", "__main__.py", "py.typed", "__pycache__"}


def functions(path: Path) -> dict[str, int]:
    """The functions of a module, each with its lines: signature, docstring and body."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return {f"{node.name}, line {node.lineno}": (node.end_lineno or 0) - node.lineno + 1 for node in found}


def test_what_is_counted_is_the_package() -> None:
    assert {"errors.py", "networks/unet.py", "cli/root.py"} <= MODULES.keys()
    assert "load" in {name.split(",")[0] for name in functions(MODULES["pipeline/loading.py"])}


def test_a_function_is_seen_at_a_glance() -> None:
    counts = {(name, which): n for name, path in MODULES.items() for which, n in functions(path).items()}
    assert not {function: n for function, n in counts.items() if n > MOST_LINES_OF_A_FUNCTION}


def test_a_module_is_read_in_one_sitting() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert not {name: count for name, count in lines.items() if count > MOST_LINES_OF_A_MODULE}


def test_the_package_has_few_rooms() -> None:
    assert len({path.name for path in PACKAGE.iterdir()} - BESIDE) <= MOST_ENTRIES


def test_collecting_the_tests_imports_no_framework(frameworks_at_start: set[str]) -> None:
    """Tests that fork would take a hundred times as long, beside threads of others."""
    assert frameworks_at_start == set()
