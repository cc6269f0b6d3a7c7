"""Running a service on a socket: with bounds on slow clients, until a signal, and then to a good end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import HANDLED_SIGNALS

from sdgen.errors import InputError
from sdgen.serve.app import application
from sdgen.serve.drawer import STOPPING
from sdgen.serve.jobs.running import Jobs
from sdgen.serve.service import Service

MOST_CONNECTIONS = 500
"""At once; the next is answered 503."""

_BACKLOG = 1024

_IDLE_SECONDS = 15
"""After which a connection is closed that is in no call, or sends its head in drops."""

_LAST_SECONDS = 10
"""For answers that say that the server stops."""


def listen(host: str, port: int) -> socket.socket:
    """A socket on which to serve; port 0 is one that is free.

    Raises:
        InputError: there is no such address here, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio sends at once, without waiting for more, on sockets that say that they are TCP's.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise _not_listening(host, port, error) from None
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise _not_listening(host, port, error) from None
    return listening


def _not_listening(host: str, port: int, error: OSError) -> InputError:
    return InputError(f"{host} port {port} cannot be listened on: {error.strerror or error}")


def url_of(listening: socket.socket) -> str:
    """Where a socket is reached."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn's server. The first signal lets what is in flight be finished, for a while; the second ends it.

    Args:
        service: what is served; its drawer is the caller's to start and stop.
        jobs: its jobs, which are the caller's to close.
        grace: seconds for what is in flight when the server is told to stop; the rest is answered 503.
    """

    def __init__(self, service: Service, grace: float, jobs: Jobs | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                application(service, jobs),
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=MOST_CONNECTIONS,
                timeout_graceful_shutdown=round(grace + _LAST_SECONDS),
            )
        )
        for name in ("uvicorn.error", "uvicorn.asgi"):
            # What it has to say of calls is said by the routes; the rest is about its own running.
            logging.getLogger(name).propagate = False
            logging.getLogger(name).addHandler(logging.NullHandler())
        self._service, self._grace = service, grace

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn's, for SIGTERM as for SIGINT."""
        self._service.ready = False
        self.force_exit = self.force_exit or self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, finish what there is, and end it after the grace."""
        self._service.ready, self._service.stopping = False, True
        giving_up = asyncio.ensure_future(self._give_up())
        try:
            await super().shutdown(sockets)
        finally:
            giving_up.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, without raising the signals again in the end: stopping when told is no failure."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def _give_up(self) -> None:
        await asyncio.sleep(self._grace)
        self._service.drawer.cancel_all(STOPPING)


class _Protocol(H11Protocol):
    """HTTP/1.1, with an end to connections that are in no call.

    uvicorn waits for ever for a head to come, and for an answer to be taken.
    """

    _unsent: float = math.inf

    def connection_made(self, transport: Any) -> None:
        """As asyncio has it."""
        super().connection_made(transport)
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio has it."""
        self._looking.cancel()
        super().connection_lost(exc)

    def _look_again(self) -> None:
        self._seen = self.cycle
        self._looking = self.loop.call_later(_IDLE_SECONDS, self._look)

    def _look(self) -> None:
        # The call that was the last one before is over, and none has come since.
        idle = self.cycle is self._seen and (self.cycle is None or self.cycle.response_complete)
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        if idle and not self._unsent:
            self.transport.close()
        elif idle and self._unsent >= before:  # Nobody takes the rest of the answer.
            self.transport.abort()
        else:
            self._look_again()
