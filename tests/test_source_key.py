"""The key of exported programs: every source that a traced function comes from has a part in it."""

from __future__ import annotations

import ast
import functools
import importlib
import shutil
from pathlib import Path

import pytest

from sdgen.backend.source_key import PACKAGE, imports, module_file, modules_key, source_key, sources

LOOP = "sdgen.pipeline.sampling_loop"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package."""
    return Path(
        shutil.copytree(PACKAGE, tmp_path / "sdgen", ignore=shutil.ignore_patterns("__pycache__", "data"))
    )


def key(package: Path) -> str:
    """The loop's, computed anew."""
    return modules_key.__wrapped__(LOOP, package)


def names(package: Path) -> set[str]:
    """The files that the loop comes from."""
    return {path.relative_to(package).as_posix() for path in sources(LOOP, package)}


def test_an_edit_of_any_file_that_the_loop_comes_from_changes_the_key(package: Path) -> None:
    keys = {key(package)}
    files = sorted(sources(LOOP, package))
    for path in files:
        path.write_text(path.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
        keys.add(key(package))
    assert len(keys) == len(files) + 1


def test_networks_tables_and_compiling_are_among_them() -> None:
    found = names(PACKAGE)
    for package in ("networks", "diffusion", "backend"):
        assert {f"{package}/{path.name}" for path in (PACKAGE / package).glob("*.py")} <= found
    assert {f"pipeline/{name}.py" for name in ("sampling_loop", "evaluation", "conditioning")} <= found


def test_an_edit_of_what_only_calls_it_does_not_change_the_key(package: Path) -> None:
    before = key(package)
    for name in ("cli", "batch", "images", "prompts"):
        for path in (package / name).rglob("*.py"):
            path.write_text("edited = True\n")
    assert key(package) == before


def test_a_new_module_of_the_networks_changes_the_key(package: Path) -> None:
    before = key(package)
    (package / "networks" / "another_attention.py").write_text("")
    assert key(package) != before


def test_every_import_is_found() -> None:
    """As Python's own parser finds them, in every module of the package."""
    missed = []
    for path in PACKAGE.rglob("*.py"):
        text, wanted = path.read_text(encoding="utf-8"), set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path} imports by a relative name"
                wanted |= {f"{node.module}.{alias.name}" for alias in node.names}
        files = {module_file(name) for name in wanted if name.partition(".")[0] == "sdgen"}
        missed += [(path.name, file) for file in files - set(map(module_file, imports(text))) if file]
    assert missed == []


def test_a_function_of_a_user_s_counts_by_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "functions_of_a_user.py"
    file.write_text("def double(x):\n    return 2 * x\n")
    double = importlib.import_module("functions_of_a_user").double
    before = source_key(double)
    assert source_key(functools.partial(double, 1)) == before
    file.write_text("def double(x):\n    return x + x\n")
    assert source_key(double) != before
