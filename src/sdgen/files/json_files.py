"""JSON files of a model folder, read with a bound on their size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sdgen.errors import CheckpointError
from sdgen.files.foreign_files import refuse_foreign
from sdgen.files.user_files import read_regular

MAX_JSON_BYTES = 16 << 20
"""The largest are tokenizer.json files, 2 to 4 MB. Python's objects take up to twenty times that."""


def read_json(path: Path, most: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """A JSON object.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        CheckpointError: the file is missing, too large, not JSON, or not an object.
    """
    try:
        text = read_regular(path, most, CheckpointError)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; fetch or copy the whole folder again") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse_foreign(path)
        raise CheckpointError(f"{path} is not valid JSON ({error}); fetch or copy it again") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object; fetch or copy it again")
    return value
