"""sdgen man: a manual page that troff's programs take, with every command and option."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command import Command

from sdgen.cli.batch_options import OPTIONS as BATCH
from sdgen.cli.options import DRAWING
from sdgen.cli.root import COMMANDS


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    result = Command(tmp_path, monkeypatch).run("man")
    assert result.exit_code == 0
    file = tmp_path / "sdgen.1"
    file.write_text(result.stdout, encoding="utf-8")
    return file


def test_every_command_and_option_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\-", "-")
    for name in COMMANDS.keys() - {"draw"}:
        assert f".SS sdgen {name}" in text
    assert ".SS sdgen models pull" in text
    for option in (*DRAWING, *BATCH):
        assert all(name in text for name in option.opts), option.name


def test_options_of_drawing_are_told_once(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\-", "-")
    assert len(re.findall(r"^\\fB--guidance-rescale", text, re.MULTILINE)) == 1


def test_an_option_that_a_command_takes_otherwise_is_told_again(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\-", "-")
    batch = text[text.index(".SS sdgen batch") :]
    assert "{slug}-{seed}-{digest}" in batch[: batch.index(".SS sdgen show")]


def test_no_line_is_taken_for_a_request(page: Path) -> None:
    requests = {"TH", "SH", "SS", "TP", "PP", "br", "nf", "fi", "RS", "RE"}
    for line in page.read_text(encoding="utf-8").splitlines():
        assert line
        if line[0] in ".'":
            assert line[1:3].strip() in requests


@pytest.mark.skipif(not shutil.which("mandoc"), reason="no mandoc here")
def test_mandoc_finds_nothing_wrong(page: Path) -> None:
    found = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", str(page)], stdout=subprocess.PIPE, text=True, timeout=60
    ).stdout.splitlines()
    assert [line for line in found if "missing date" not in line] == []


@pytest.mark.skipif(not shutil.which("groff"), reason="no groff here")
def test_groff_shows_it_without_a_warning(page: Path) -> None:
    shown = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-P-cbou", str(page)], capture_output=True, timeout=60
    )
    assert (shown.returncode, shown.stderr) == (0, b"")
    text = shown.stdout.decode()
    assert re.search(r"sdgen\s+-\s+draw pictures of texts", text)
    assert '"$(sdgen completion bash)"' in text
    assert "jq -r '.path // empty'" in text
