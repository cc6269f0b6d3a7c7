"""data/sidecar.schema.json: what it says of a request's fields is made from their table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from sdgen.request import FIELDS
from sdgen.request.fields import Field

FILE = resources.files("sdgen.images") / "data" / "sidecar.schema.json"


def published() -> dict[str, Any]:
    """The schema as it is in the package."""
    schema: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return schema


def current(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema with the request's fields as the table has them, before what else a sidecar has.

    ``required`` stays as it is: sidecars that were written before a field was added lack it.
    """
    leading = [field for field in FIELDS.values() if field.leads]
    others = [field for field in FIELDS.values() if not field.leads]
    of_request = {field.name: _property(field) for field in (*leading, *others)}
    beside = {name: each for name, each in schema["properties"].items() if name not in FIELDS}
    return {**schema, "properties": {**of_request, **beside}}


def text_of(schema: Mapping[str, Any]) -> str:
    """A schema as the file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _property(field: Field) -> dict[str, Any]:
    """What a sidecar may say of a field: null where it stays with the model's own way, or it has none."""
    found = field.kind.schema()
    kind, bounds = found.pop("type"), found
    if field.default is None and field.name != "model":
        kind = [kind, "null"]
        if "enum" in bounds:
            bounds["enum"] = [*bounds["enum"], None]
    return {"type": kind, "description": field.about, **bounds}
