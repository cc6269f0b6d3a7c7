"""``/health``, ``/ready`` and ``/metrics``, for whoever runs the server."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sdgen.files.version import VERSION
from sdgen.serve import metrics
from sdgen.serve.answers import JSON
from sdgen.serve.service import Service

OPEN = ("/health", "/ready")
"""Paths that need no token: whoever asks them has none."""


def routes(service: Service) -> list[Route]:
    """The routes of a service."""

    async def health(request: Request) -> JSON:
        return JSON({"status": "ok", "version": VERSION})

    async def ready(request: Request) -> JSON:
        status = "ready" if service.ready else "not ready"
        return JSON({"status": status}, 200 if service.ready else 503)

    async def counted(request: Request) -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": metrics.CONTENT_TYPE})

    return [Route("/health", health), Route("/ready", ready), Route("/metrics", counted)]
