"""AUTOMATIC1111's API, ``/sdapi/v1``, as its clients call it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from sdgen.pipeline.watching import Watch
from sdgen.serve import pictures
from sdgen.serve.a1111 import calls, info
from sdgen.serve.a1111 import pictures as a1111_pictures
from sdgen.serve.a1111.lists import lists
from sdgen.serve.a1111.options import Options
from sdgen.serve.answers import JSON
from sdgen.serve.calls import Call, unless_gone
from sdgen.serve.drawing import Drawn, Dropped, Failed, Stage
from sdgen.serve.refusals import Refusal
from sdgen.serve.routes import Endpoint, route
from sdgen.serve.service import Service

if TYPE_CHECKING:
    from sdgen.images.image import Image

PREFIX = "/sdapi/v1"


def error(refusal: Refusal) -> JSON:
    """A refusal in AUTOMATIC1111's shape."""
    # Wrong values are 422 there, whatever is wrong with them.
    status = 422 if refusal.status == 400 else refusal.status
    described = {"error": refusal.code or "error", "detail": refusal.message, "body": refusal.field or ""}
    return JSON({**described, "errors": refusal.message}, status, refusal.headers)


class _Running:
    """A call that is being drawn, as progress and interruption see it."""

    def __init__(self, call: Call, client: str) -> None:
        self.call, self.client = call, client
        self.began = time.monotonic()
        self.interrupted = self.skipped = False


class A1111:
    """The API of a service; ``routes`` are its routes."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._options = Options(service.settings)
        self._running: list[_Running] = []
        posts: dict[str, Endpoint] = {
            "txt2img": self._txt2img,
            "img2img": self._img2img,
            "options": self._set_options,
            "interrupt": self._interrupt,
            "skip": self._skip,
            "png-info": self._png_info,
            "extra-single-image": self._enlarge,
            **dict.fromkeys(("refresh-checkpoints", "refresh-vae", "refresh-loras"), self._nothing),
        }
        gets: dict[str, Endpoint] = {"options": self._get_options, "progress": self._progress}
        gets |= {name: _answering(found) for name, found in lists(service.settings).items()}
        self.routes = [
            *(route(f"{PREFIX}/{name}", endpoint, error, "POST") for name, endpoint in posts.items()),
            *(route(f"{PREFIX}/{name}", endpoint, error) for name, endpoint in gets.items()),
        ]

    async def _txt2img(self, request: Request) -> Response:
        values = await self._service.bodies.read_json(request)
        asked = calls.txt2img(values, self._service.settings, self._options)
        return await self._drawn(request, asked)

    async def _img2img(self, request: Request) -> Response:
        values = await self._service.bodies.read_json(request)
        settings = self._service.settings
        asked = await asyncio.to_thread(calls.img2img, values, settings, self._options)
        return await self._drawn(request, asked)

    async def _drawn(self, request: Request, asked: calls.Call) -> Response:
        call = Call(self._service.drawer, asked.requests, Watch())
        running = _Running(call, _client(request))
        self._running.append(running)
        try:
            images = await unless_gone(request.receive, _images(running))
            files = await asyncio.to_thread(_encoded, images, asked) if asked.send_images else []
        finally:
            self._running.remove(running)
            call.close()
        answer = {
            "images": files,
            "parameters": dict(asked.parameters),
            "info": json.dumps(info.info(images, len(asked.requests))),
        }
        return JSON(answer, headers=dict(asked.headers))

    async def _progress(self, request: Request) -> Response:
        shown = request.query_params.get("skip_current_image", "false").lower() not in ("true", "1")
        running = self._of(request)
        if running is None:
            return JSON(info.idle())
        drawing = running.call.drawing
        seen = next((each.seen for each in drawing.standings if each.seen is not None), None)
        image = None
        if shown and seen is not None:
            size = drawing.requests[0].stored_size
            image = pictures.text_of(await asyncio.to_thread(pictures.preview, seen, size, "png"))
        seconds = time.monotonic() - running.began
        flags = {"skipped": running.skipped, "interrupted": running.interrupted}
        return JSON(info.progress(drawing, seconds, image, flags))

    async def _interrupt(self, request: Request) -> Response:
        running = self._of(request)
        if running is not None:
            running.interrupted = True
            running.call.close()
        return JSON({})

    async def _skip(self, request: Request) -> Response:
        """The first picture that is not there is not drawn; those after it are."""
        running = self._of(request)
        if running is not None:
            running.skipped = True
            standings = running.call.drawing.standings
            left = (n for n, each in enumerate(standings) if each.stage in (Stage.WAITING, Stage.DRAWING))
            if (place := next(left, None)) is not None:
                self._service.drawer.cancel_one(running.call.drawing, place)
        return JSON({})

    def _of(self, request: Request) -> _Running | None:
        """The call that a client means: the oldest of its own machine's, as there is no name to it."""
        client = _client(request)
        return next((each for each in self._running if each.client == client), None)

    async def _get_options(self, request: Request) -> Response:
        return JSON(self._options.described())

    async def _set_options(self, request: Request) -> Response:
        values = await self._service.bodies.read_json(request)
        return JSON(None, headers=self._options.set(values))

    async def _png_info(self, request: Request) -> Response:
        values = await self._service.bodies.read_json(request)
        limits = self._service.settings.limits
        return JSON(await asyncio.to_thread(a1111_pictures.png_info, values, limits))

    async def _enlarge(self, request: Request) -> Response:
        values = await self._service.bodies.read_json(request)
        limits = self._service.settings.limits
        answer, headers = await asyncio.to_thread(a1111_pictures.enlarge, values, limits)
        return JSON(answer, headers=dict(headers))

    async def _nothing(self, request: Request) -> Response:
        return JSON(None)


async def _images(running: _Running) -> list[Image]:
    """The pictures that are drawn, in their order; those that were skipped or interrupted are not among them.

    Raises:
        Exception: what one failed with.
        Refusal: there is none.
    """
    found: dict[int, Image] = {}
    async for event in running.call.events():
        if isinstance(event, Drawn):
            found[event.picture] = event.image
        elif isinstance(event, Failed):
            wanted = not (running.interrupted or running.skipped)
            if wanted or not isinstance(event.error, Dropped):
                running.call.close()
                raise event.error
    if not found:
        raise Refusal(409, "it was interrupted before a picture was there", code="interrupted")
    return [image for _, image in sorted(found.items())]


def _encoded(images: list[Image], asked: calls.Call) -> list[str]:
    return [pictures.text_of(pictures.to_bytes(image, asked.format)) for image in images]


def _client(request: Request) -> str:
    return request.client.host if request.client else ""


def _answering(found: Callable[[], Any]) -> Endpoint:
    async def answer(request: Request) -> Response:
        return JSON(found())

    return answer
