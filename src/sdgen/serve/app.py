"""The application: every route of a service, and who may call it."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from sdgen.serve import status_api
from sdgen.serve.a1111 import api as a1111
from sdgen.serve.access import Access
from sdgen.serve.fields import WARNING
from sdgen.serve.jobs.api import JobsAPI
from sdgen.serve.jobs.running import Jobs
from sdgen.serve.openai import api as openai
from sdgen.serve.refusals import Refusal
from sdgen.serve.service import Service

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOG = logging.getLogger("sdgen")


def application(service: Service, jobs: Jobs | None = None) -> Starlette:
    """The application of a service, and of its jobs where it has them."""
    settings = service.settings
    middleware = [
        Middleware(_Counted, service=service),
        Middleware(Access, settings=settings, is_open=_is_open, refused=_refused),
    ]
    if settings.origins:
        middleware.insert(
            1,
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.origins),
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "content-type"],
                expose_headers=[WARNING, "Retry-After"],
            ),
        )
    routes = [*status_api.routes(service), *openai.OpenAI(service).routes, *a1111.A1111(service).routes]
    if jobs is not None:
        routes += JobsAPI(service, jobs).routes
    return Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={HTTPException: _http_error},
    )


def _is_open(path: str) -> bool:
    return path in status_api.OPEN or path.startswith(openai.FILES)


def _refused(path: str, refusal: Refusal) -> Response:
    return a1111.error(refusal) if path.startswith(a1111.PREFIX) else openai.error(refusal)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = {404: "there is nothing at this path", 405: "this path takes another method"}
    refusal = Refusal(error.status_code, message.get(error.status_code, error.detail), code="not_found")
    response = _refused(request.url.path, refusal)
    response.headers.update(error.headers or {})
    return response


class _Counted:
    """Counts and logs answers by their route's pattern: paths of clients' making would fill the memory."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        began = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "")
                self._service.metrics.answered(route, message["status"])
                seconds = time.perf_counter() - began
                LOG.debug("%s %s %d %.3f s", scope["method"], route, message["status"], seconds)
            await send(message)

        await self._app(scope, receive, counted)
