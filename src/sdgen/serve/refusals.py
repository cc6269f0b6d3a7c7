"""``Refusal``: why a call is not answered as it was meant. Each API has its own shape for it."""

from __future__ import annotations

import dataclasses
import logging

from sdgen import backend
from sdgen.errors import BackendError, CheckpointError, ImageError, InputError, ModelUnavailable, OutputError
from sdgen.serve.drawer import Full
from sdgen.serve.drawing import Dropped
from sdgen.serve.settings import OverLimit
from sdgen.text.printable import printable

LOG = logging.getLogger("sdgen")

RETRY = 10
"""Seconds after which to try again where nobody knows better."""

_LONGEST = 2000
"""Characters of a sentence."""


@dataclasses.dataclass
class Refusal(Exception):
    """A call is refused, or has failed.

    Attributes:
        status: of HTTP.
        message: a sentence.
        field: what of the call is to blame, by the name that the request's table has for it.
        code: for programs.
        retry: seconds after which it may be tried again.
    """

    status: int
    message: str
    field: str | None = None
    code: str | None = None
    retry: int | None = None

    def __post_init__(self) -> None:
        super().__init__(self.message)
        self.message = printable(self.message if len(self.message) <= _LONGEST else self.message[:_LONGEST])

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {} if self.retry is None else {"Retry-After": str(self.retry)}


def of(error: Exception) -> Refusal:
    """What a client is told of an error. One that nobody foresaw is logged, and told without its details."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, OverLimit):
        return Refusal(422, str(error), error.field, "over_limit")
    if isinstance(error, InputError):
        return Refusal(400, str(error), error.field, "invalid_value")
    if isinstance(error, Full):
        return Refusal(429, str(error), code="rate_limit_exceeded", retry=error.seconds)
    if isinstance(error, Dropped):
        return Refusal(503, str(error), code="dropped", retry=RETRY)
    if backend.is_out_of_memory(error):
        return Refusal(503, "out of memory; ask for a smaller size", code="out_of_memory", retry=RETRY)
    if isinstance(error, ImageError):
        return Refusal(500, str(error), code="unusable_image")
    if isinstance(error, OutputError):
        LOG.error("%s", error)
        return Refusal(507, "it cannot be stored; the server's log says why", code="not_stored")
    if isinstance(error, (ModelUnavailable, CheckpointError, BackendError)):
        LOG.error("%s", error)
        return Refusal(503, "the model cannot be used; the server's log says why", code="model_unavailable")
    LOG.error("a call failed", exc_info=error)
    return Refusal(500, "the server failed; its log says how", code="internal_error")
