"""HTTP as downloads need it: https only, the Hub's endpoint and token, faults in plain words."""

from __future__ import annotations

import email.utils
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from sdgen.errors import InputError
from sdgen.models import hub
from sdgen.models.catalogue import LOOPBACK
from sdgen.models.patience import NextMirror, TryAgain

CHUNK = 64 * 1024
"""Bytes taken from the connection at a time, at most."""

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""

LEAST_RATE = 100
"""Bytes a second below which a server counts as one that sends nothing; the slowest modem does better."""

_MOST_REDIRECTS = 10

_NUMBER = "[0-9]{1,18}"
"""A number of bytes or seconds in a header; ``str.isdigit`` takes more than ``int`` does."""


def session() -> requests.Session:
    """A session that honours the proxy variables."""
    opened = requests.Session()
    opened.headers["User-Agent"] = "sdgen"
    opened.headers["Accept-Encoding"] = "identity"  # a compressed answer has no usable offsets, and no bound
    return opened


def address(url: str) -> tuple[str, dict[str, str]]:
    """The web address of a catalogue address, and the headers to send there: a token to the Hub alone.

    Raises:
        InputError: ``HF_ENDPOINT`` or the token cannot be used.
    """
    return hub.resolved(url), token_header() if url.startswith("hf://") else {}


def token_header() -> dict[str, str]:
    """The header that shows the Hub its token; none where there is no token.

    Raises:
        InputError: the token has characters that no token has.
    """
    from huggingface_hub import get_token

    token = get_token()
    if not token:
        return {}
    if not re.fullmatch(r"[!-~]+", token):
        raise InputError("HF_TOKEN, or the token that was saved, is no token; copy it again")
    return {"Authorization": f"Bearer {token}"}


def label(url: str) -> str:
    """What messages call an address: the repository and the Hub, or the host."""
    if url.startswith("hf://"):
        repo = "/".join(url.removeprefix("hf://").split("@")[0].split("/")[:2])
        return f"{repo} at {urlsplit(hub.endpoint()).netloc}"
    return urlsplit(url).netloc


def get(opened: requests.Session, url: str, headers: Mapping[str, str], timeout: float) -> requests.Response:
    """The answer to a request, its body not yet read; status 200, 206 or 416.

    Raises:
        TryAgain, NextMirror: it failed.
    """
    answer = ask(opened, url, headers, timeout)
    if answer.status_code not in (200, 206, 416):
        answer.close()
        raise _refusal(answer, url)
    return answer


def ask(opened: requests.Session, url: str, headers: Mapping[str, str], timeout: float) -> requests.Response:
    """The answer to a request of any status that is no redirect, its body not yet read.

    Args:
        opened: from ``session``.
        url: https; or http to this machine, or to an ``HF_ENDPOINT`` that says so. So are all that it is
            redirected to.
        headers: to send; a token does not follow to another host.
        timeout: seconds to wait for the first byte. All headers of all redirects must be here within it,
            and the seconds that a connection may take.

    Raises:
        TryAgain, NextMirror: it failed.
    """
    answer = _within(CONNECT_TIMEOUT + timeout, timeout, lambda: _follow(opened, url, dict(headers), timeout))
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        answer.close()
        raise NextMirror("sends the file compressed, which cannot be checked or resumed")
    return answer


def body(answer: requests.Response, timeout: float) -> Iterator[bytes]:
    """The bytes of an answer as they come.

    Raises:
        TryAgain: the connection broke off, stalled, or brought too little in ``timeout`` seconds of waiting.
    """
    waited, arrived = 0.0, 0
    while True:
        began = time.monotonic()
        try:
            piece = answer.raw.read1(CHUNK, decode_content=False)
        except urllib3.exceptions.ReadTimeoutError:
            raise TryAgain("stopped sending") from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError):
            raise TryAgain("dropped the connection") from None
        if not piece:
            return
        waited += time.monotonic() - began
        arrived += len(piece)
        if waited >= timeout:
            if arrived < LEAST_RATE * waited:
                raise TryAgain(f"sent {arrived} bytes in {waited:.0f} s", crawling=True)
            waited, arrived = 0.0, 0
        yield piece


def whole_body(answer: requests.Response, most: int, timeout: float) -> bytes:
    """The body of a small answer, of at most ``most`` bytes, which must be here within ``timeout`` seconds.

    Raises:
        TryAgain, NextMirror: it is not.
    """
    data, deadline = bytearray(), time.monotonic() + timeout
    for piece in body(answer, timeout):
        data += piece
        if len(data) > most:
            raise NextMirror(f"sends more than {most} bytes")
        if time.monotonic() > deadline:
            raise TryAgain(f"had not sent its whole answer after {timeout:g} s", weight=2)
    return bytes(data)


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


def retry_after(answer: requests.Response) -> float | None:
    """Seconds that the server asks to wait, or None."""
    text = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(_NUMBER, text):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def _within(seconds: float, timeout: float, call: Callable[[], requests.Response]) -> requests.Response:
    """What ``call`` returns, if it does in time; headers that come byte by byte run into no other limit."""
    answers: list[requests.Response] = []
    errors: list[BaseException] = []
    late = threading.Event()

    def work() -> None:
        try:
            answer = call()
            answers.append(answer)
            if late.is_set():
                answer.close()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        late.set()
        raise TryAgain(f"did not answer for {timeout:g} s", weight=2)
    return answers[0]


def _follow(opened: requests.Session, url: str, headers: dict[str, str], timeout: float) -> requests.Response:
    """The answer behind the redirects; requests would read what comes with each of them to its end."""
    before: list[requests.Response] = []
    while len(before) <= _MOST_REDIRECTS:
        answer = _once(opened, url, headers, timeout)
        target = opened.get_redirect_target(answer)
        if target is None:
            answer.history = before
            return answer
        answer.close()
        before.append(answer)
        try:
            following = urljoin(answer.url, target)
            if opened.should_strip_auth(url, following):
                headers.pop("Authorization", None)
        except ValueError:  # half an IPv6 address
            raise NextMirror("leads to an address that is none") from None
        url = following
    raise NextMirror("redirects in circles")


def _once(
    opened: requests.Session, url: str, headers: Mapping[str, str], timeout: float
) -> requests.Response:
    _require_safe(url)
    wait = (CONNECT_TIMEOUT, timeout)
    try:
        return opened.get(url, headers=headers, stream=True, timeout=wait, allow_redirects=False)
    except requests.exceptions.InvalidProxyURL:
        raise NextMirror("is behind a proxy whose address is none; mend HTTPS_PROXY") from None
    except requests.exceptions.InvalidSchema as error:  # the address itself was checked
        raise NextMirror(f"cannot be asked through the proxy: {error}") from None
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader):
        raise NextMirror("leads to an address that is none") from None
    except requests.exceptions.SSLError:
        raise NextMirror("has a certificate that is not accepted") from None
    except requests.exceptions.ProxyError:
        raise TryAgain("is behind a proxy that does not answer", weight=2) from None
    except requests.exceptions.ReadTimeout:
        raise TryAgain(f"did not answer for {timeout:g} s") from None
    except requests.exceptions.RequestException:
        raise TryAgain("cannot be reached", weight=2) from None
    except (urllib3.exceptions.HTTPError, ValueError):  # what requests lets through of its own libraries
        raise NextMirror("leads to an address that is none") from None


def _require_safe(url: str) -> None:
    """Raises unless an address is https, or plain http to this machine or to the Hub that the user names."""
    try:
        parts, endpoint = urlsplit(url), urlsplit(hub.endpoint())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise NextMirror("leads to an address that is none") from None
    here = host in LOOPBACK or (endpoint.scheme, endpoint.hostname) == ("http", host)
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and here)):
        raise NextMirror("leads to an address that is not https, which is refused")


def _refusal(answer: requests.Response, url: str) -> Exception:
    status = answer.status_code
    if status == 408 or status == 429 or status >= 500:
        what = "is asked too often" if status == 429 else "is in trouble"
        return TryAgain(f"{what} (status {status})", after=retry_after(answer))
    if status in (401, 403):
        terms = "; accept the model's terms there and set HF_TOKEN" if "/resolve/" in url else ""
        return NextMirror(f"refuses access (status {status}){terms}")
    if status in (404, 410):
        return NextMirror(f"does not have the file (status {status})")
    return NextMirror(f"answered with status {status}")
