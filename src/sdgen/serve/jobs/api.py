"""sdgen's own API: ``/api/jobs``, whose pictures are drawn whether or not anybody waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from sdgen.serve.answers import JSON
from sdgen.serve.drawing import Stage
from sdgen.serve.events import EventStream, event
from sdgen.serve.jobs import calls
from sdgen.serve.jobs.running import Job, Jobs
from sdgen.serve.openai.api import error
from sdgen.serve.refusals import Refusal
from sdgen.serve.routes import route
from sdgen.serve.service import Service

PREFIX = "/api"

BETWEEN = 0.1
"""Seconds between two events of progress, at least."""

_LOOK = 1.0
"""Seconds after which the end of the server is looked for while nothing happens."""

_LONGEST_KEY = 200
_MOST_LISTED = 100


class JobsAPI:
    """The API of a service; ``routes`` are its routes. Errors have OpenAI's shape."""

    def __init__(self, service: Service, jobs: Jobs) -> None:
        self._service, self._jobs = service, jobs
        one = f"{PREFIX}/jobs/{{id}}"
        self.routes = [
            route(f"{PREFIX}/jobs", self._add, error, "POST"),
            route(f"{PREFIX}/jobs", self._list, error, "GET"),
            route(one, self._get, error, "GET"),
            route(f"{one}/cancel", self._cancel, error, "POST"),
            route(f"{one}/events", self._events, error, "GET"),
            route(f"{one}/images/{{place:int}}", self._image, error, "GET"),
            route(f"{one}/images/{{place:int}}/sidecar", self._sidecar, error, "GET"),
        ]

    async def _add(self, request: Request) -> Response:
        key = request.headers.get("idempotency-key")
        if key is not None and not (0 < len(key) <= _LONGEST_KEY and key.isprintable()):
            message = f"Idempotency-Key must be 1 to {_LONGEST_KEY} characters"
            raise Refusal(400, message, "Idempotency-Key", "invalid_value")
        values = await self._service.bodies.read_json(request)
        call = await asyncio.to_thread(calls.job, values, self._service.settings)
        job, new = await asyncio.to_thread(self._jobs.add, call.requests, call.digest, key)
        headers = {"Location": f"{PREFIX}/jobs/{job.record.id}"}
        return JSON(self._described(job), 202 if new else 200, headers)

    async def _list(self, request: Request) -> Response:
        asked = request.query_params.get("limit", "20")
        if not asked.isdecimal() or not 1 <= int(asked[:6]) <= _MOST_LISTED:
            raise Refusal(400, f"limit must be 1 to {_MOST_LISTED}", "limit", "invalid_value")
        jobs = await asyncio.to_thread(self._jobs.last, int(asked))
        return JSON({"jobs": [self._summary(job) for job in jobs]})

    async def _get(self, request: Request) -> Response:
        return JSON(self._described(await self._found(request)))

    async def _cancel(self, request: Request) -> Response:
        job = await self._found(request)
        await asyncio.to_thread(self._jobs.cancel, job)
        return JSON(self._described(job))

    async def _events(self, request: Request) -> EventStream:
        job = await self._found(request)
        changed, loop = asyncio.Event(), asyncio.get_running_loop()

        def watcher() -> None:
            with contextlib.suppress(RuntimeError):  # The loop has ended.
                loop.call_soon_threadsafe(changed.set)

        job.watchers.add(watcher)
        seconds = self._service.settings.limits.send_seconds
        return EventStream(
            self._changes(job, changed), functools.partial(job.watchers.discard, watcher), {}, seconds
        )

    async def _changes(self, job: Job, changed: asyncio.Event) -> AsyncIterator[bytes]:
        """Each picture that is settled, once; how far the job is, now and then; its end."""
        told: set[int] = set()
        last: dict[str, Any] = {}
        while True:
            changed.clear()
            for place, picture in enumerate(job.pictures):
                if picture.settled and place not in told:
                    told.add(place)
                    yield event("image", self._picture(job, place))
            if (summary := self._summary(job)) != last:
                last = summary
                yield event("progress", summary)
            if job.finished:
                yield event("end", self._described(job))
                return
            if self._service.stopping:  # Whoever comes back then asks the next server.
                return
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(changed.wait(), _LOOK)
            await asyncio.sleep(BETWEEN)

    async def _image(self, request: Request) -> Response:
        path = await self._path(request)
        return FileResponse(path, filename=path.name, content_disposition_type="inline")

    async def _sidecar(self, request: Request) -> Response:
        return FileResponse((await self._path(request)).with_suffix(".json"), media_type="application/json")

    async def _path(self, request: Request) -> Path:
        job, place = await self._found(request), request.path_params["place"]
        path: Path | None = job.pictures[place].path if place < len(job.pictures) else None
        if path is None or not path.is_file():
            raise Refusal(404, "there is no such picture, or not yet", code="not_found")
        return path

    async def _found(self, request: Request) -> Job:
        job = await asyncio.to_thread(self._jobs.get, request.path_params["id"])
        if job is None:
            raise Refusal(404, "there is no such job", code="not_found")
        return job

    def _summary(self, job: Job) -> dict[str, Any]:
        stages = [picture.stage for picture in job.pictures]
        return {
            "id": job.record.id,
            "status": job.status,
            "created": job.record.created,
            "progress": round(job.share, 4),
            "ahead": 0 if job.finished else self._jobs.ahead(job),
            "counts": {stage.value: stages.count(stage) for stage in Stage},
        }

    def _described(self, job: Job) -> dict[str, Any]:
        return {
            **self._summary(job),
            "images": [self._picture(job, place) for place in range(len(job.pictures))],
        }

    def _picture(self, job: Job, place: int) -> dict[str, Any]:
        picture, request = job.pictures[place], job.record.requests[place]
        described = {"place": place, "status": picture.stage.value, "seed": request.seed}
        if picture.path is not None:
            url = f"{PREFIX}/jobs/{job.record.id}/images/{place}"
            return {**described, "url": url, "sidecar": f"{url}/sidecar"}
        return {**described, "error": picture.error} if picture.error else described
