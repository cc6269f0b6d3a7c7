"""Who may call: a token, compared in constant time, and no page of somebody else's in a browser."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from sdgen.serve.refusals import Refusal
from sdgen.serve.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

_SCHEMES = 'Bearer, Basic realm="sdgen"'

_LONGEST = 4096
"""Characters of the header that are looked at."""


class Access:
    """Lets calls through to an application, or refuses them.

    Args:
        app: the application.
        settings: of the server.
        is_open: whether a path needs no token.
        refused: the answer to a call of a path that is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        is_open: Callable[[str], bool],
        refused: Callable[[str, Refusal], Response],
    ) -> None:
        self._app, self._settings, self._is_open, self._refused = app, settings, is_open, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "http":
            try:
                self._check(scope)
            except Refusal as refusal:
                response = self._refused(scope["path"], refusal)
                if refusal.status == 401:
                    response.headers["WWW-Authenticate"] = _SCHEMES
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers, settings = Headers(scope=scope), self._settings
        host = headers.get("host", "")
        if settings.hosts and host_name(host) not in settings.hosts:
            raise Refusal(421, "this server has another name; call it by its address", code="wrong_host")
        # Browsers send it with what a page elsewhere has them send, which may not even want the answer.
        origin = headers.get("origin")
        if origin and origin.rpartition("://")[2] != host and origin not in settings.origins:
            raise Refusal(403, "pages of another origin may not use this server", code="wrong_origin")
        if settings.token is None or self._is_open(scope["path"]):
            return
        if not is_shown(settings.token, headers.get("authorization", "")):
            raise Refusal(401, "the token is missing or wrong", code="invalid_api_key")


def host_name(host: str) -> str:
    """The name in a Host header: without the port, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def is_shown(token: str, authorization: str) -> bool:
    """Whether an Authorization header shows the token: Bearer, or Basic with it as the password.

    A token that is itself ``user:password`` may be shown as these.
    """
    scheme, _, shown = authorization[:_LONGEST].strip().partition(" ")
    candidates = [""]
    if scheme.lower() == "bearer":
        candidates = [shown.strip()]
    elif scheme.lower() == "basic":
        try:
            pair = base64.b64decode(shown.strip(), validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            pair = ""
        candidates = [pair, pair.partition(":")[2]]
    # Digests are of one length, and each is compared, whatever another gave.
    expected = hashlib.sha256(token.encode()).digest()
    same = [hmac.compare_digest(hashlib.sha256(each.encode()).digest(), expected) for each in candidates]
    return any(same)
