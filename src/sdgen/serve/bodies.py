"""Reading what a client sends: bounded in bytes, time, depth and parts; nothing of it touches the disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from sdgen.files import json_text
from sdgen.serve.refusals import RETRY, Refusal
from sdgen.serve.settings import Limits

_MOST_FILES, _MOST_FIELDS = 17, 200
"""Of a form: OpenAI's edits have 16 pictures and a mask."""

_AT_ONCE = 4
"""As many times the largest body may be read at once, of all clients together."""


class Bodies:
    """Reads bodies; ``limits`` are those of one, and of all that are read at once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = _AT_ONCE * limits.body

    async def read_json(self, request: Request) -> dict[str, Any]:
        """The JSON object of a body, whatever content type it says it has; {} where there is no body.

        Raises:
            Refusal: it is too large, too slow, or no JSON object.
            ClientDisconnect: there is nobody to send it any more.
        """
        data = await self._read(request)
        if not data.strip():
            return {}
        try:
            return json_text.parse_object(data)
        except ValueError as error:
            raise Refusal(400, f"the body must be a JSON object: {error}", code="invalid_json") from None

    async def read_form(self, request: Request) -> dict[str, list[str | bytes]]:
        """The fields of a multipart form by name, files as their bytes; a name may come several times.

        Raises:
            Refusal: it is too large, too slow, or no such form.
            ClientDisconnect: there is nobody to send it any more.
        """
        kind = request.headers.get("content-type", "")
        if not kind.startswith("multipart/form-data"):
            raise Refusal(400, "the body must be multipart/form-data", code="invalid_form")
        data = await self._read(request)
        parser = _InMemory(
            Headers({"content-type": kind}),
            _once(data),
            max_files=_MOST_FILES,
            max_fields=_MOST_FIELDS,
            max_part_size=self._limits.body,
        )
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise Refusal(400, f"the form cannot be read: {error.message}", code="invalid_form") from None
        found: dict[str, list[str | bytes]] = {}
        for name, value in form.multi_items():
            found.setdefault(name, []).append(await value.read() if isinstance(value, UploadFile) else value)
        await form.close()
        return found

    async def _read(self, request: Request) -> bytes:
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._limits.body:
            raise self._too_large()
        chunks, size, seconds = [], 0, self._limits.body_seconds
        try:
            async for chunk in _within(request.stream(), seconds):
                size += len(chunk)
                self._left -= len(chunk)
                if size > self._limits.body:
                    raise self._too_large()
                if self._left < 0:
                    raise Refusal(429, "too much is being sent at once", code="busy", retry=RETRY)
                chunks.append(chunk)
        except asyncio.TimeoutError:
            raise Refusal(408, f"the body did not come within {seconds:g} s", code="too_slow") from None
        finally:
            self._left += size
        return b"".join(chunks)

    def _too_large(self) -> Refusal:
        most = self._limits.body
        return Refusal(413, f"the body has more than {most} bytes, this server's limit", code="too_large")


class _InMemory(MultiPartParser):
    """Writes no file to a folder for temporary ones; what is parsed is bounded already."""

    spool_max_size = 2**40


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


async def _within(stream: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """The parts of a stream, all of them within so many seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        try:
            yield await asyncio.wait_for(stream.__anext__(), max(0.0, end - loop.time()))
        except StopAsyncIteration:
            return
