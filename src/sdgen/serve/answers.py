"""Answers in JSON, whatever of a client's own is in them."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from sdgen.files import json_text


class JSON(Response):
    """A JSON answer. Half characters and numbers that are not finite, which JSON lacks, harm none."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return json_text.write(content).encode()
