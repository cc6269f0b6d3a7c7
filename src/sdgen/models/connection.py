"""HTTP as downloads need it: https only, the Hub's endpoint and token, faults in plain words."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import urllib3

from sdgen.models import hub
from sdgen.models.catalogue import LOOPBACK
from sdgen.models.patience import NextMirror, TryAgain

CHUNK = 64 * 1024
"""Bytes taken from the connection at a time."""

_NUMBER = "[0-9]{1,18}"
"""A number of bytes or seconds in a header; ``str.isdigit`` takes more than ``int`` does."""

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""


class _HttpHere(requests.adapters.HTTPAdapter):
    """Plain http to this machine, or to an ``HF_ENDPOINT`` that says so; every redirect comes by."""

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        host, endpoint = urlsplit(request.url).hostname, urlsplit(hub.endpoint())
        if host not in LOOPBACK and (endpoint.scheme, endpoint.hostname) != ("http", host):
            raise requests.exceptions.InvalidSchema(request.url)
        return super().send(request, *args, **options)


def session() -> requests.Session:
    """A session that honours the proxy variables and speaks plain http with this machine only."""
    opened = requests.Session()
    opened.headers["User-Agent"] = "sdgen"
    opened.headers["Accept-Encoding"] = "identity"  # a compressed answer has no usable offsets
    opened.mount("http://", _HttpHere())
    return opened


def address(url: str) -> tuple[str, dict[str, str]]:
    """The web address of a catalogue address, and the headers to send there.

    ``hf://user/repo[@revision]/path`` is resolved at ``HF_ENDPOINT``; the Hub's token goes there alone
    (requests drops it when it is redirected to another host).
    """
    if not url.startswith("hf://"):
        return url, {}
    from huggingface_hub import get_token

    user, repo, path = url.removeprefix("hf://").split("/", 2)
    repo, _, revision = repo.partition("@")
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    commit = quote(revision or "main", safe="")
    return f"{hub.endpoint()}/{user}/{repo}/resolve/{commit}/{quote(path)}", headers


def label(url: str) -> str:
    """What messages call an address: the repository, or the host."""
    if url.startswith("hf://"):
        return "/".join(url.removeprefix("hf://").split("@")[0].split("/")[:2])
    return urlsplit(url).netloc


def get(opened: requests.Session, url: str, headers: Mapping[str, str], timeout: float) -> requests.Response:
    """The answer to a request, its body not yet read; status 200, 206 or 416.

    Raises:
        TryAgain, NextMirror: it failed.
    """
    try:
        answer = opened.get(url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, timeout))
    except requests.exceptions.InvalidSchema:
        raise NextMirror("leads to an address that is not https, which is refused") from None
    except requests.exceptions.TooManyRedirects:
        raise NextMirror("redirects in circles") from None
    except requests.exceptions.SSLError:
        raise NextMirror("has a certificate that is not accepted") from None
    except requests.exceptions.ProxyError:
        raise TryAgain("is behind a proxy that does not answer", weight=2) from None
    except requests.exceptions.ReadTimeout:
        raise TryAgain(f"did not answer for {timeout:g} s") from None
    except requests.exceptions.RequestException:
        raise TryAgain("cannot be reached", weight=2) from None
    if answer.status_code not in (200, 206, 416):
        answer.close()
        raise _refusal(answer, url)
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        answer.close()
        raise NextMirror("sends the file compressed, which cannot be checked or resumed")
    return answer


def body(answer: requests.Response) -> Iterator[bytes]:
    """The bytes of an answer as they come.

    Raises:
        TryAgain: the connection broke off or stalled.
    """
    pieces = answer.iter_content(CHUNK)
    while True:
        try:
            piece = next(pieces, None)
        except requests.exceptions.ConnectionError as error:
            stalled = "timed out" in str(error)
            raise TryAgain("stopped sending" if stalled else "dropped the connection") from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError):
            raise TryAgain("dropped the connection") from None
        if piece is None:
            return
        yield piece


def linked_sha256(url: str, answer: requests.Response) -> str | None:
    """The sha256 that the Hub itself gives for a large file, before it redirects to where the bytes are."""
    if not url.startswith("hf://"):
        return None
    first = answer.history[0] if answer.history else answer
    tag = first.headers.get("X-Linked-Etag", "").strip('"')
    return tag if re.fullmatch(r"[0-9a-f]{64}", tag) else None


def total_size(answer: requests.Response, offset: int) -> int | None:
    """Bytes of the whole file by what the answer says, or None where it does not.

    Raises:
        TryAgain: a partial answer does not begin at ``offset``.
    """
    length = answer.headers.get("Content-Length", "")
    left = int(length) if re.fullmatch(_NUMBER, length) else None
    if answer.status_code != 206:
        return left
    given = answer.headers.get("Content-Range", "").strip()
    match = re.fullmatch(rf"bytes ({_NUMBER})-({_NUMBER})/({_NUMBER}|\*)", given)
    if match is None or int(match[1]) != offset:
        raise TryAgain("answered with another part of the file", after=0)
    if match[3] != "*":
        return int(match[3])
    return None if left is None else offset + left


def strong_tag(answer: requests.Response) -> str | None:
    """The ETag that If-Range may use, or None."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else None


def _refusal(answer: requests.Response, url: str) -> Exception:
    status = answer.status_code
    if status == 408 or status == 429 or status >= 500:
        what = "is asked too often" if status == 429 else "is in trouble"
        return TryAgain(f"{what} (status {status})", after=_retry_after(answer))
    if status in (401, 403):
        terms = "; accept the model's terms there and set HF_TOKEN" if "/resolve/" in url else ""
        return NextMirror(f"refuses access (status {status}){terms}")
    if status in (404, 410):
        return NextMirror(f"does not have the file (status {status})")
    return NextMirror(f"answered with status {status}")


def _retry_after(answer: requests.Response) -> float | None:
    text = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(_NUMBER, text):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
