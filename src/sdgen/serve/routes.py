"""Routes whose errors are answered in the shape of their API."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from sdgen.serve import refusals
from sdgen.serve.calls import ClientGone
from sdgen.serve.refusals import Refusal

Endpoint = Callable[[Request], Awaitable[Any]]

GONE = 499
"""The status, nginx's, of what was not answered because the client had gone."""


def route(
    path: str,
    endpoint: Endpoint,
    shape: Callable[[Refusal], Response],
    method: str = "GET",
    name: str | None = None,
) -> Route:
    """A route of one method.

    Args:
        path: a pattern of Starlette's.
        endpoint: answers; what it raises is answered as ``shape`` says it.
        shape: of errors.
        method: of HTTP.
        name: by which its URL is made.
    """

    @functools.wraps(endpoint)
    async def guarded(request: Request) -> Any:
        try:
            return await endpoint(request)
        except (ClientGone, ClientDisconnect):
            return Response(status_code=GONE)
        except Exception as problem:
            return shape(refusals.of(problem))

    return Route(path, guarded, methods=[method], name=name)
