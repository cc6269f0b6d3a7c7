"""The table of a request's fields: what is declared there is in all that reads it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import wider_request

from sdgen import models
from sdgen.checkpoints import open_checkpoint
from sdgen.images import sidecar_schema
from sdgen.images.foreign_settings import plain
from sdgen.pipeline import defaults
from sdgen.request import FIELDS, Request

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process finds whose requests have one more field, ``weirdness``."""
    folder = tmp_path_factory.mktemp("wider")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SDGEN_")}
    environment |= {f"SDGEN_{name}_DIR": str(folder / name) for name in ("CONFIG", "MODELS", "STATE")}
    source = str(Path(sidecar_schema.__file__).parent.parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, wider_request.__file__],
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def test_a_new_field_is_an_option_with_help_and_range(found: dict[str, Any]) -> None:
    for text in (found["help"], found["man"].replace("\\-", "-")):
        assert "--weirdness" in text
        assert "How weird the picture is to be, 0 to 1." in " ".join(text.split())
    assert found["drawn"] == [0.25]
    assert found["refused"]["status"] == 2
    assert "weirdness must be 0 to 1, not 2" in found["refused"]["stderr"]


def test_importing_requests_imports_nothing_large(found: dict[str, Any]) -> None:
    assert found["heavy"] == []


def test_what_a_prompts_file_calls_a_new_field_is_understood_as_its_option(found: dict[str, Any]) -> None:
    assert "there is no option --oddity; did you mean --weirdness?" in found["guess"]


def test_a_new_field_is_a_setting(found: dict[str, Any]) -> None:
    assert found["settings"] == [0.375]


def test_a_new_field_is_read_from_prompts_files_by_its_names(found: dict[str, Any]) -> None:
    assert found["batch"] == [0.5, 0.625, 0.75, 0.875]
    assert "d.jsonl:1: weirdness must be a number, not 'much'" in found["wrong"]["stderr"]


def test_a_new_field_can_be_swept(found: dict[str, Any]) -> None:
    assert found["sweep"] == [0.125, 0.25]


def test_a_new_field_is_in_sidecars_and_their_schema(found: dict[str, Any]) -> None:
    names = list(found["schema"]["properties"])
    assert names.index("weirdness") == names.index("fast") + 1
    assert [name for name in names if name in found["sidecar"]] == list(found["sidecar"])
    jsonschema.validate(found["sidecar"], found["schema"])
    with pytest.raises(jsonschema.ValidationError, match="maximum"):
        jsonschema.validate({**found["sidecar"], "weirdness": 2}, found["schema"])


def test_sidecars_from_before_a_new_field_follow_its_schema(found: dict[str, Any]) -> None:
    before = {name: value for name, value in found["sidecar"].items() if name != "weirdness"}
    jsonschema.validate(before, found["schema"])


def test_a_new_field_is_in_images_and_read_from_them(found: dict[str, Any]) -> None:
    assert "Weirdness: 0.25, " in found["parameters"]["text"]
    assert found["parameters"]["read"]["weirdness"] == 0.25
    assert found["image"]["weirdness"] == 0.25


def test_a_new_field_is_shown_with_the_command_that_draws_it_again(found: dict[str, Any]) -> None:
    assert re.search(r"^  weirdness +0.25$", found["show"], re.MULTILINE)
    assert "--weirdness 0.25" in found["show"]
    assert ["weirdness", "0.25"] in found["gallery"]
    assert "weirdness" in found["grid"]


def test_replay_takes_another_value_of_a_new_field(found: dict[str, Any]) -> None:
    assert found["replay"]["status"] == 0, found["replay"]["stderr"]
    assert found["again"] == 0.5


def test_a_new_field_counts_in_a_requests_identity_where_it_is_given(found: dict[str, Any]) -> None:
    from sdgen.batch.batch_folder import BatchFolder
    from sdgen.batch.tasks import Task

    weird, usual = found["identities"]
    assert found["request"]["held"] == 1.0
    assert len(set(found["request"]["digests"])) == 2
    assert weird != usual == BatchFolder().identity(Task(Request(prompt="a fox")))


def test_keras_cv_refuses_a_new_field(found: dict[str, Any]) -> None:
    assert found["keras-cv"] == "--engine keras-cv has no weirdness 1.0; leave it out or use --engine sdgen"


def test_the_published_schema_is_made_from_the_table() -> None:
    published = sidecar_schema.published()
    made = sidecar_schema.text_of(sidecar_schema.current(published))
    assert made == sidecar_schema.text_of(published), "run tests/golden/make_sidecar_schema.py"


def test_a_request_that_is_drawn_has_what_the_table_calls_filled() -> None:
    checkpoint = open_checkpoint(models.locate("mini"))
    request = defaults.filled(Request(prompt="a fox"), models.find("mini"), checkpoint, 8, "ddim")
    filled = {name for name, field in FIELDS.items() if field.filled}
    assert filled == {
        name for name, field in FIELDS.items() if field.default is None and getattr(request, name) is not None
    }


def test_every_name_means_one_field() -> None:
    prompts = [name for field in FIELDS.values() for name in (field.name, *field.aliases)]
    assert len(set(prompts)) == len(prompts)
    options = [name for field in FIELDS.values() for name in field.option]
    assert len(set(options)) == len(options)
    for field in FIELDS.values():
        others = {plain(alias) for other in FIELDS.values() if other is not field for alias in other.aliases}
        assert others.isdisjoint(field.elsewhere)


def test_the_table_in_the_guide_to_prompts_files_has_every_field_and_alias() -> None:
    rows = _rows(DOCS / "prompts-files.md", "field")
    aliases = {name: set(field.aliases) for name, field in FIELDS.items()}
    assert {name for names, _ in rows for name in names} == {*FIELDS, "count", "size"}
    for names, also in rows:
        if names[0] in FIELDS:
            assert set(also) == aliases[names[0]] if len(names) == 1 else not also


def test_the_table_in_the_guide_to_sidecars_has_every_field() -> None:
    rows = _rows(DOCS / "sidecar.md", "field")
    assert {name for names, _ in rows for name in names} == set(sidecar_schema.published()["properties"])


def _rows(file: Path, heading: str) -> list[tuple[list[str], list[str]]]:
    """The names in the first two cells of a guide's first table whose header begins so."""
    lines = file.read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    found = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        names, also = (re.findall(r"`(\w+)`", cell) for cell in line.split("|")[1:3])
        found.append((names, also))
    return found
