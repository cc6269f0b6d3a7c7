"""A web server on 127.0.0.1 that misbehaves as told, and one that imitates the Hugging Face Hub.

``model_fixtures`` gives both as pytest fixtures.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET with Range and ETag as a well-behaved server does, unless a fault is due."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        owner: FaultServer = self.server.owner
        path, _, query = self.path.partition("?")
        fault = owner.take(path, dict(self.headers), query)
        if fault is not None:
            fault(self, owner.files.get(path, b""))
        elif path in owner.redirects:
            self.head(302, 0, {"Location": owner.redirects[path], **owner.headers.get(path, {})})
        elif path in owner.files:
            self.serve(owner.files[path], owner.headers.get(path, {}))
        else:
            self.head(404, 0)

    def serve(self, data: bytes, headers: Mapping[str, str]) -> None:
        """The file, or the rest of it that Range asks for."""
        tag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and self.headers.get("If-Range", tag) == tag else 0
        if start and start >= len(data):
            self.head(416, 0, {"Content-Range": f"bytes */{len(data)}"})
            return
        if start:
            partial = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
            self.head(206, len(data) - start, {"ETag": tag, **headers, **partial})
        else:
            self.head(200, len(data), {"ETag": tag, **headers})
        self.wfile.write(data[start:])

    def head(self, status: int, length: int | None, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: clients that hang up are part of the tests."""


Fault = Callable[[Handler, bytes], None]


def status(code: int, **headers: str) -> Fault:
    """Answer with a status; header names with '_' for '-'."""
    return lambda handler, data: handler.head(code, 0, {k.replace("_", "-"): v for k, v in headers.items()})


def drop(after: int) -> Fault:
    """Send ``after`` bytes of what was asked for, then close the connection."""

    def fault(handler: Handler, data: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        partial = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        handler.head(206 if start else 200, len(data) - start, {"ETag": '"fixed"', **partial})
        handler.wfile.write(data[start : start + after])
        handler.hang_up()

    return fault


def wrong_bytes(handler: Handler, data: bytes) -> None:
    """As many bytes as the file has, all of them wrong."""
    handler.serve(bytes(255 - byte for byte in data[:512]) + data[512:], {})


def too_short(handler: Handler, data: bytes) -> None:
    """Claim that the file is 1000 bytes shorter, and send that."""
    handler.head(200, len(data) - 1000)
    handler.wfile.write(data[:-1000])


def too_long(handler: Handler, data: bytes) -> None:
    """Claim that the file is 1000 bytes longer, and send that."""
    handler.head(200, len(data) + 1000)
    handler.wfile.write(data + b"x" * 1000)


def ignore_range(handler: Handler, data: bytes) -> None:
    """Send the whole file whatever was asked for."""
    handler.head(200, len(data))
    handler.wfile.write(data)


def wrong_range(handler: Handler, data: bytes) -> None:
    """Send another part than was asked for."""
    handler.head(206, len(data) - 7, {"Content-Range": f"bytes 7-{len(data) - 1}/{len(data)}"})
    handler.wfile.write(data[7:])


def stall(after: int, seconds: float) -> Fault:
    """Send ``after`` bytes, then nothing for a while."""

    def fault(handler: Handler, data: bytes) -> None:
        handler.head(200, len(data))
        handler.wfile.write(data[:after])
        handler.wfile.flush()
        time.sleep(seconds)
        handler.hang_up()

    return fault


def held(after: int, go: threading.Event) -> Fault:
    """Send ``after`` bytes, and the others when ``go`` is set, or after a minute."""

    def fault(handler: Handler, data: bytes) -> None:
        handler.head(200, len(data))
        handler.wfile.write(data[:after])
        handler.wfile.flush()
        go.wait(60)
        handler.wfile.write(data[after:])

    return fault


def slow(pieces: int, pause: float) -> Fault:
    """Send the file in so many pieces, with a pause after each; Range is honoured."""

    def fault(handler: Handler, data: bytes) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        partial = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        handler.head(206 if start else 200, len(data) - start, partial)
        step = max(1, (len(data) - start) // pieces)
        for here in range(start, len(data), step):
            handler.wfile.write(data[here : here + step])
            handler.wfile.flush()
            time.sleep(pause)

    return fault


def unframed(cut: int = 0) -> Fault:
    """Send the file without saying how long it is, less its last ``cut`` bytes, and close."""

    def fault(handler: Handler, data: bytes) -> None:
        handler.head(200, None, {"Connection": "close"})
        handler.wfile.write(data[: len(data) - cut])
        handler.hang_up()

    return fault


def chunked(finished: bool) -> Fault:
    """Send the file in HTTP chunks, with or without the end mark."""

    def fault(handler: Handler, data: bytes) -> None:
        handler.head(200, None, {"Transfer-Encoding": "chunked"})
        body = data if finished else data[: len(data) // 2]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
        if finished:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.hang_up()

    return fault


def compressed(handler: Handler, data: bytes) -> None:
    """Say that the file is compressed."""
    handler.head(200, len(data), {"Content-Encoding": "gzip"})
    handler.wfile.write(data)


def web_page(handler: Handler, data: bytes) -> None:
    """A login page in place of the file, as hotel networks send it."""
    page = b"<html>please log in</html>"
    handler.head(200, len(page), {"Content-Type": "text/html"})
    handler.wfile.write(page)


def dripping(handler: Handler, data: bytes) -> None:
    """Send the headers, then a space every hundredth of a second, for as long as somebody reads."""
    handler.head(200, 10**6)
    for _ in range(10_000):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.01)


def dripping_headers(handler: Handler, data: bytes) -> None:
    """A header every hundredth of a second, and never the last one."""
    handler.send_response(200)
    for number in range(10_000):
        handler.send_header(f"X-{number % 50}", "y")
        handler.flush_headers()
        time.sleep(0.01)


def bomb(handler: Handler, data: bytes) -> None:
    """100 MB of zeros, compressed; 100 kB on the way."""
    packed = zlib.compressobj(9, wbits=31)
    body = b"".join(packed.compress(bytes(2**20)) for _ in range(100)) + packed.flush()
    handler.head(200, len(body), {"Content-Encoding": "gzip", "Content-Type": "application/json"})
    handler.wfile.write(body)


def redirect(location: str) -> Fault:
    """Lead to another address."""
    return lambda handler, data: handler.head(302, 0, {"Location": location})


class FaultServer:
    """Serves ``files`` by path. ``plan`` queues faults for a path, ``always`` makes one last.

    Attributes:
        files: path -> bytes.
        headers: path -> further headers.
        redirects: path -> address.
        requests: (path, headers, query) of every request, in order.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.redirects: dict[str, str] = {}
        self.requests: list[tuple[str, dict[str, str], str]] = []
        self._planned: dict[str, list[Fault | None]] = {}
        self._lasting: dict[str, Fault] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.owner = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def plan(self, path: str, *faults: Fault | None) -> None:
        """What the next requests for a path meet, one each; None is the right answer."""
        self._planned.setdefault(path, []).extend(faults)

    def always(self, path: str, fault: Fault) -> None:
        """What every request for a path meets until ``behave``."""
        self._lasting[path] = fault

    def behave(self) -> None:
        """No more faults."""
        self._planned.clear()
        self._lasting.clear()

    def take(self, path: str, headers: dict[str, str], query: str) -> Fault | None:
        with self._lock:
            self.requests.append((path, headers, query))
            if self._planned.get(path):
                return self._planned[path].pop(0)
            return self._lasting.get(path)

    def asked(self, path: str) -> list[dict[str, str]]:
        """The headers of each request for a path."""
        return [headers for asked, headers, _ in self.requests if asked == path]

    def __enter__(self) -> FaultServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class HubServer(FaultServer):
    """The requests that a download from the Hub makes: model info, ``resolve``, a redirect to a CDN."""

    def add(self, repo: str, files: Mapping[str, bytes], commit: str, revision: str = "main") -> None:
        """Publish a repository. ``.safetensors`` and ``.h5`` files are kept in LFS, as on the Hub."""
        siblings = []
        for name, data in files.items():
            resolve = f"/{repo}/resolve/{commit}/{name}"
            git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            sibling: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git}
            if name.endswith((".safetensors", ".h5")):
                sha256 = hashlib.sha256(data).hexdigest()
                sibling["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 134}
                self.files[f"/cdn/{sha256}"] = data
                self.redirects[resolve] = f"{self.url}/cdn/{sha256}"
                self.headers[resolve] = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(data))}
                if revision == "main":
                    self.redirects[f"/{repo}/resolve/main/{name}"] = f"{self.url}/cdn/{sha256}"
                    self.headers[f"/{repo}/resolve/main/{name}"] = self.headers[resolve]
            else:
                self.files[resolve] = data
            siblings.append(sibling)
        info = {"id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "private": False}
        for known in (revision, commit):
            path = f"/api/models/{repo}/revision/{quote(known, safe='')}"
            self.files[path] = json.dumps(info).encode()
            self.headers[path] = {"Content-Type": "application/json"}


class Places:
    """sdgen's folders and other programs' caches in a test, all empty at first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.models = root / "models"
        self.config = root / "config"
        self.hub_cache = root / "hf" / "hub"
        self.keras = root / "keras"
        self.environment = {
            "HOME": str(root),
            "SDGEN_MODELS_DIR": str(self.models),
            "SDGEN_CONFIG_DIR": str(self.config),
            "SDGEN_CACHE_DIR": str(root / "cache"),
            "SDGEN_STATE_DIR": str(root / "state"),
            "SDGEN_RETRY_DELAY": "0.01",
            "HF_HOME": str(root / "hf"),
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "KERAS_HOME": str(self.keras),
            "NO_PROXY": "127.0.0.1",
        }

    def catalogue(self, text: str) -> Path:
        """Write the user's catalogue."""
        self.config.mkdir(exist_ok=True)
        file = self.config / "catalog.toml"
        file.write_text(text, encoding="utf-8")
        return file

    def row(self, name: str, *files: str) -> None:
        """A catalogue of one row, ``files`` being inline tables."""
        source = f'[[{name}.sources]]\nname = "web"\nfiles = [{", ".join(files)}]\n'
        self.catalogue(f'[{name}]\ntask = "text-to-image"\n{source}')
