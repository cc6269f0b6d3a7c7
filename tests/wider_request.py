"""A request with one more field, in the table's place before anything reads it; what of it is found where.

``python wider_request.py``, in an empty folder, prints an object: what ``test_request_table.py`` looks into.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import sdgen
from sdgen import request
from sdgen.request.fields import entry, table
from sdgen.request.kinds import Real

HEAVY = sorted({"numpy", "click", "PIL"} & sys.modules.keys())
"""What importing requests brought with it, in a process that imported nothing else."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wider(request.Request):
    weirdness: float = entry(
        0.0,
        Real(0, 1),
        about="How weird the picture is.",
        option=("--weirdness",),
        section="Sampling",
        metavar="SHARE",
        help="How weird the picture is to be, 0 to 1.",
        aliases=("weird", "oddity"),
        title="Weirdness",
    )


def run(*arguments: str) -> dict[str, Any]:
    """The command's status and what it prints, with the stand-in pipeline."""
    from click.testing import CliRunner

    from sdgen.cli.root import root

    result = CliRunner().invoke(root, list(arguments))
    return {"status": result.exit_code, "stdout": result.stdout, "stderr": result.stderr}


def drawn(*arguments: str) -> list[float]:
    """The field's values in the sidecars of what a command draws, in order."""
    lines = run(*arguments, "--json", "--model", "mini")["stdout"].splitlines()
    return [json.loads(Path(json.loads(line)["sidecar"]).read_text())["weirdness"] for line in lines]


def find() -> dict[str, Any]:
    """Where the field is."""
    from PIL import Image

    from sdgen import models
    from sdgen.batch.batch_folder import BatchFolder
    from sdgen.batch.tasks import Task
    from sdgen.checkpoints import open_checkpoint
    from sdgen.errors import InputError
    from sdgen.images import a1111_text, gallery, records, sheet_layout, sidecar_schema
    from sdgen.pipeline.keras_cv.engine import KerasCvEngine

    Path("a.csv").write_text("prompt;Weirdness\na fox;0,5\n")
    entries = ({"prompt": "a cat", "weirdness": 0.625}, {"prompt": "a cat", "weird": 0.75})
    Path("b.jsonl").write_text("\n".join(map(json.dumps, entries)))
    Path("c.txt").write_text('--prompt "a dog" --weird 0.875\n')
    Path("d.jsonl").write_text('{"prompt": "a cat", "weirdness": "much"}\n')
    found: dict[str, Any] = {
        "heavy": HEAVY,
        "help": run("draw", "--help")["stdout"],
        "man": run("man")["stdout"],
        "refused": run("draw", "a fox", "--weirdness", "2", "--model", "mini"),
        "drawn": drawn("draw", "a fox", "--weirdness", "0.25", "--seed", "7", "-o", "here/fox.png"),
        "batch": drawn("batch", "a.csv", "b.jsonl", "c.txt"),
        "sweep": drawn("batch", "c.txt", "--sweep", "weirdness=0.125,0.25", "-o", "swept/"),
        "guess": run("draw", "a fox", "--oddity", "1")["stderr"],
        "wrong": run("batch", "d.jsonl", "--model", "mini"),
        "show": run("show", "here/fox.png")["stdout"],
        "replay": run("replay", "here/fox.png", "--weirdness", "0.5", "-o", "again.png"),
        "again": json.loads(Path("again.json").read_text())["weirdness"],
        "sidecar": json.loads(Path("here/fox.json").read_text()),
        "schema": sidecar_schema.current(sidecar_schema.published()),
        "gallery": gallery.item(Path("here/fox.png"), Path("here"))["fields"],
        "grid": sheet_layout.FIELDS,
    }
    Path("run.toml").write_text("weirdness = 0.375\n")
    found["settings"] = drawn("draw", "a fox", "--config", "run.toml")
    with Image.open("here/fox.png") as picture:
        text = picture.info["parameters"]
    Path("here/fox.json").rename("gone.json")
    from_text = a1111_text.read(text)
    assert from_text is not None
    found["parameters"] = {"text": text, "read": from_text.settings}
    found["image"] = dict(records.read(Path("here/fox.png")).settings)
    weird, plain = (Wider.from_dict({"prompt": "a fox", **more}) for more in ({"weirdness": 1}, {}))
    stock = object.__new__(KerasCvEngine)
    stock.entry, stock.checkpoint = models.find("mini"), open_checkpoint(models.locate("mini"))
    try:
        stock.resolve(weird.replace(width=128, height=128))
    except InputError as error:
        found["keras-cv"] = str(error)
    found["request"] = {"held": weird.weirdness, "digests": [weird.digest(), plain.digest()]}
    found["identities"] = [BatchFolder().identity(Task(each)) for each in (weird, plain)]
    return found


if __name__ == "__main__":
    request.Request, request.FIELDS = Wider, table(Wider)  # type: ignore[misc]
    sdgen.Request = Wider  # type: ignore[misc]
    import stand_in

    vars(sdgen)["load"] = stand_in.load
    json.dump(find(), sys.stdout)
