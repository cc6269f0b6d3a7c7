"""Server-sent events: a response that goes on while something happens, and ends with its client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from sdgen.serve import calls

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that no proxy takes the connection for dead."""

_HEADERS = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"))


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """One event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


class EventStream:
    """A response, as an ASGI application.

    Args:
        events: what is sent, as ``event`` gives it.
        closed: called once nothing more is sent: all is, or the client has gone, or took it too slowly.
        headers: further ones.
        send_seconds: in which the client has to take what is sent.
        heartbeat: as ``HEARTBEAT``.
    """

    def __init__(
        self,
        events: AsyncIterator[bytes],
        closed: Callable[[], None],
        headers: Mapping[str, str],
        send_seconds: float,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self._events, self._closed = events, closed
        self._headers = [
            *_HEADERS,
            *((name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()),
        ]
        self._send_seconds, self._heartbeat = send_seconds, heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything."""
        sending = asyncio.ensure_future(self._send_all(send))
        leaving = asyncio.ensure_future(calls.gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            await calls.ended(sending, leaving)
            self._closed()

    async def _send_all(self, send: Send) -> None:
        async def put(message: dict[str, Any]) -> None:
            await asyncio.wait_for(send(message), self._send_seconds)

        with contextlib.suppress(asyncio.TimeoutError, OSError):  # Too slow, or gone.
            await put({"type": "http.response.start", "status": 200, "headers": self._headers})
            async for data in self._with_heartbeat():
                await put({"type": "http.response.body", "body": data, "more_body": True})
            await put({"type": "http.response.body", "body": b"", "more_body": False})

    async def _with_heartbeat(self) -> AsyncIterator[bytes]:
        """The events; a comment whenever none has come for a while."""
        coming: asyncio.Future[bytes | None] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(_next(self._events))
                done, _ = await asyncio.wait({coming}, timeout=self._heartbeat)
                if not done:
                    yield b": still drawing\n\n"
                    continue
                data, coming = coming.result(), None
                if data is None:
                    return
                yield data
        finally:
            if coming is not None:
                await calls.ended(coming)


async def _next(events: AsyncIterator[bytes]) -> bytes | None:
    async for data in events:
        return data
    return None
