"""Calls of clients, between their connections and the drawing thread: nobody draws for who has gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sdgen.request import Request
from sdgen.serve.drawer import Drawer
from sdgen.serve.drawing import Drawing, Drawn, Event, Failed, Stepped

if TYPE_CHECKING:
    from starlette.types import Receive

    from sdgen.images.image import Image
    from sdgen.pipeline.watching import Watch

T = TypeVar("T")


class ClientGone(Exception):
    """Whoever called has closed the connection; there is nobody to answer."""


class Call:
    """Pictures that a client waits for, in the event loop.

    Args:
        drawer: draws them.
        requests: what to draw.
        watch: which steps are to be seen.

    Raises:
        Full, Dropped: as ``Drawer.submit``.
    """

    def __init__(self, drawer: Drawer, requests: Sequence[Request], watch: Watch | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._drawer = drawer
        self._left = len(requests)
        self.drawing: Drawing = drawer.submit(requests, self._listen, watch)

    def _listen(self, event: Event) -> None:
        if isinstance(event, Stepped) and event.seen is None:
            return  # ``drawing`` says how far it is.
        with contextlib.suppress(RuntimeError):  # The loop has ended, and everybody has gone.
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def events(self) -> AsyncIterator[Event]:
        """What happens, until no more will: steps that are to be seen, and the end of each picture."""
        while self._left:
            event = await self._events.get()
            self._left -= not isinstance(event, Stepped)
            yield event

    async def images(self) -> list[Image]:
        """The pictures, in the order of the requests.

        Raises:
            Exception: what one failed with; the others are not drawn then.
        """
        found: dict[int, Image] = {}
        async for event in self.events():
            if isinstance(event, Failed):
                self.close()
                raise event.error
            if isinstance(event, Drawn):
                found[event.picture] = event.image
        return [image for _, image in sorted(found.items())]

    def close(self) -> None:
        """What is not drawn yet is wanted no more."""
        if not self.drawing.done:
            self._drawer.cancel(self.drawing)


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives, unless the client goes before; then ``work`` is cancelled.

    Args:
        receive: of the connection, whose body has been read.
        work: may take as long as drawing does.

    Raises:
        ClientGone: the client has gone.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        await ended(working, leaving)


async def gone(receive: Receive) -> None:
    """Returns when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancels tasks that are not done, and waits until they are."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
