"""OpenAI's API: ``/v1/images/generations``, ``/v1/images/edits``, ``/v1/models``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from sdgen.serve import pictures, refusals
from sdgen.serve.answers import JSON
from sdgen.serve.calls import Call, unless_gone
from sdgen.serve.drawing import Drawn, Failed, Stepped
from sdgen.serve.events import EventStream, event
from sdgen.serve.openai import calls
from sdgen.serve.openai.calls import ImageCall
from sdgen.serve.previews import Partials
from sdgen.serve.refusals import Refusal
from sdgen.serve.routes import route
from sdgen.serve.service import Service

if TYPE_CHECKING:
    from sdgen.images.image import Image

_NO_TOKENS = {
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}
"""OpenAI's count of what is paid for: nothing is."""

FILES = "/v1/images/files/"
"""Below it no token is needed: nobody can guess the names, and browsers show pictures without one."""


def error(refusal: Refusal) -> JSON:
    """A refusal in OpenAI's shape."""
    return JSON({"error": _described(refusal)}, refusal.status, refusal.headers)


def _described(refusal: Refusal) -> dict[str, Any]:
    kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
    field = calls.theirs(refusal.field)
    return {"message": refusal.message, "type": kind, "code": refusal.code, "param": field}


class OpenAI:
    """The API of a service; ``routes`` are its routes."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._started = int(time.time())
        self.routes = [
            route("/v1/images/generations", self._generations, error, "POST"),
            route("/v1/images/edits", self._edits, error, "POST"),
            route(f"{FILES}{{name}}", self._file, error, name="image_file"),
            route("/v1/models", self._models, error),
            route("/v1/models/{name:path}", self._model, error),
        ]

    async def _generations(self, request: Request) -> Any:
        values = await self._service.bodies.read_json(request)
        call = calls.generation(values, self._service.settings)
        return await self._drawn(request, call, "image_generation")

    async def _edits(self, request: Request) -> Any:
        form = await self._service.bodies.read_form(request)
        # Decoding pictures takes a while.
        call = await asyncio.to_thread(calls.edit, form, self._service.settings)
        return await self._drawn(request, call, "image_edit")

    async def _drawn(self, request: Request, asked: ImageCall, kind: str) -> Any:
        """The answer to a call; ``kind`` is what the names of its events begin with."""
        watch = Partials(asked.partials) if asked.stream and asked.partials else None
        call = Call(self._service.drawer, asked.requests, watch)
        if asked.stream:
            events = self._events(call, asked, kind)
            return EventStream(events, call.close, asked.headers, self._service.settings.limits.send_seconds)
        try:
            images = await unless_gone(request.receive, call.images())
            files = await asyncio.to_thread(_encoded, images, asked)
        finally:
            call.close()
        return JSON(self._answer(request, asked, images, files), headers=dict(asked.headers))

    def _answer(
        self, request: Request, asked: ImageCall, images: list[Image], files: list[bytes]
    ) -> dict[str, Any]:
        data: list[dict[str, Any]] = []
        for image, file in zip(images, files, strict=True):
            if asked.as_url:
                name = self._service.files.add(file, pictures.TYPES[asked.format])
                data.append({"url": str(request.url_for("image_file", name=name))})
            else:
                data.append({"b64_json": pictures.text_of(file)})
            data[-1]["seed"] = image.request.seed
        return {
            "created": int(time.time()),
            "background": "opaque",
            "output_format": asked.format,
            "size": _size(images[0]),
            "data": data,
            "usage": _NO_TOKENS,
        }

    async def _events(self, call: Call, asked: ImageCall, kind: str) -> AsyncIterator[bytes]:
        partials = [0] * len(asked.requests)
        try:
            async for happened in call.events():
                common = {"created_at": int(time.time()), "background": "opaque", "quality": "auto"}
                common |= {"output_format": asked.format, "index": happened.picture}
                if isinstance(happened, Failed):
                    raise happened.error
                if isinstance(happened, Drawn):
                    file = await asyncio.to_thread(
                        pictures.to_bytes, happened.image, asked.format, asked.quality
                    )
                    common |= {"size": _size(happened.image), "usage": _NO_TOKENS}
                    common |= {"seed": happened.image.request.seed}
                    yield _picture_event(f"{kind}.completed", file, common)
                elif isinstance(happened, Stepped) and happened.seen is not None:
                    request = asked.requests[happened.picture]
                    file = await asyncio.to_thread(
                        pictures.preview, happened.seen, request.stored_size, asked.format
                    )
                    common |= {"size": asked.size, "partial_image_index": partials[happened.picture]}
                    partials[happened.picture] += 1
                    yield _picture_event(f"{kind}.partial_image", file, common)
        except Exception as problem:
            yield event("error", {"type": "error", "error": _described(refusals.of(problem))})

    async def _file(self, request: Request) -> Response:
        found = self._service.files.get(request.path_params["name"])
        if found is None:
            raise Refusal(404, "there is no such picture, or not any more", code="not_found")
        data, kind = found
        return Response(data, media_type=kind, headers={"Cache-Control": "private, max-age=3600"})

    async def _models(self, request: Request) -> JSON:
        names = self._service.settings.models
        return JSON({"object": "list", "data": [self._described_model(name) for name in names]})

    async def _model(self, request: Request) -> JSON:
        name = request.path_params["name"]
        if name not in self._service.settings.models:
            raise Refusal(404, f"there is no model {name[:80]!r}", "model", "model_not_found")
        return JSON(self._described_model(name))

    def _described_model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._started, "owned_by": "sdgen"}


def _encoded(images: list[Image], asked: ImageCall) -> list[bytes]:
    return [pictures.to_bytes(image, asked.format, asked.quality) for image in images]


def _size(image: Image) -> str:
    assert image.pixels is not None
    height, width = image.pixels.shape[:2]
    return f"{width}x{height}"


def _picture_event(name: str, file: bytes, data: dict[str, Any]) -> bytes:
    return event(name, {"type": name, "b64_json": pictures.text_of(file), **data})
