"""JSON files of a model folder, read with a bound on their size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sdgen.errors import CheckpointError

MAX_JSON_BYTES = 64 << 20
"""The largest are tokenizer.json files, 2 to 4 MB."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        CheckpointError: the file is missing, too large, not JSON, or not an object.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_JSON_BYTES + 1)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; fetch or copy the whole folder again") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(text) > MAX_JSON_BYTES:
        raise CheckpointError(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB, too large for what it is")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); fetch or copy it again") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object; fetch or copy it again")
    return value
