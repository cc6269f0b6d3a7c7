"""Running sdgen batch in tests, with the stand-in pipeline, and what it says and leaves behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from click.testing import Result
from command import Command


def run(sdgen: Command, *arguments: str, text: str | None = "a fox\na cat\n", **more: Any) -> Result:
    """Run it on ``p.txt``, which holds ``text``; None leaves the file as it is."""
    if text is not None:
        Path("p.txt").write_text(text, encoding="utf-8")
    return sdgen.run("batch", "p.txt", *arguments, "--model", "mini", **more)


def records(result: Result) -> list[dict[str, Any]]:
    """What ``--json`` printed."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def statuses(result: Result) -> list[str]:
    """What ``--json`` printed of each image."""
    return [record["status"] for record in records(result)]


def summary(messages: str | bytes) -> dict[str, Any]:
    """What ``--json`` wrote to stderr at the end."""
    found: dict[str, Any] = json.loads(messages.splitlines()[-1])
    assert found.pop("status") == "summary"
    return found


def files(folder: str = "outputs") -> list[str]:
    """Names of what is in a folder."""
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def images(folder: str = "outputs") -> list[str]:
    """Names of the PNG files in a folder."""
    return [name for name in files(folder) if name.endswith(".png")]
