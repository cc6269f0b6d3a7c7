"""A job as it is sent: requests in sdgen's own words, each of one or several pictures."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from sdgen.errors import InputError
from sdgen.request import FIELDS, MAX_SEED, RANDOM_SEED, Request
from sdgen.request.pictures import PictureKind
from sdgen.serve.refusals import Refusal
from sdgen.serve.settings import Settings

COUNT = "count"
"""Name of the field that says how many pictures a request is for, with seeds that follow each other."""

_RANDOM_SEEDS = 2**32


@dataclasses.dataclass(frozen=True)
class JobCall:
    """What a client asks for.

    Attributes:
        requests: one for each picture, no two alike.
        digest: of what was sent, so that the same call sent twice is known.
    """

    requests: tuple[Request, ...]
    digest: str


def job(values: Mapping[str, Any], settings: Settings) -> JobCall:
    """A call of ``/api/jobs``: ``request``, an object, or ``requests``, a list of them.

    Args:
        values: its JSON object.
        settings: of the server.

    Raises:
        Refusal, InputError: it cannot be drawn; the message says which of the requests.
    """
    if unknown := values.keys() - {"request", "requests"}:
        raise Refusal(400, f"a job has request or requests, and no {min(unknown)[:40]!r}", min(unknown)[:40])
    sent = values["requests"] if "requests" in values else [values.get("request")]
    if not isinstance(sent, list) or not sent or ("request" in values and "requests" in values):
        raise Refusal(400, "a job needs request, an object, or requests, a list of them", "requests")
    requests: dict[str, Request] = {}
    for place, each in enumerate(sent):
        try:
            for request in _requests(each, settings):
                requests.setdefault(request.digest(), request)
                if len(requests) > settings.limits.job_pictures:
                    most = settings.limits.job_pictures
                    raise Refusal(422, f"the job is for more than {most} pictures, this server's limit")
        except InputError as error:
            # The same error, with the place of what it is about.
            error.args = (f"requests[{place}]: {error}",)
            raise
    text = json.dumps(values, sort_keys=True)
    return JobCall(tuple(requests.values()), hashlib.sha256(text.encode()).hexdigest())


def _requests(sent: Any, settings: Settings) -> Iterator[Request]:
    if not isinstance(sent, Mapping):
        raise InputError("it must be an object", "requests")
    fields = {name: value for name, value in sent.items() if value is not None}
    count = fields.pop(COUNT, 1)
    if type(count) is not int or not 1 <= count <= settings.limits.job_pictures:
        raise InputError(f"{COUNT} must be 1 to {settings.limits.job_pictures}", COUNT)
    for name in fields:
        if name in FIELDS and isinstance(FIELDS[name].kind, PictureKind):
            raise InputError(f"a job takes no {name}; /v1/images/edits takes pictures", name)
    model = fields.setdefault("model", settings.models[0])
    if model not in settings.models:
        raise InputError(f"the server has no such model; it has {', '.join(settings.models)}", "model")
    if fields.get("seed", RANDOM_SEED) == RANDOM_SEED:
        fields["seed"] = secrets.randbelow(_RANDOM_SEEDS - count + 1)
    first = Request.from_dict(fields)
    if first.seed + count - 1 > MAX_SEED:
        raise InputError(f"the seeds go beyond {MAX_SEED}", "seed")
    settings.limits.check(first)
    return (first.replace(seed=first.seed + number) for number in range(count))
