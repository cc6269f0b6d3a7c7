"""Who may call the server, and what slow, silent and vanished clients cost."""

from __future__ import annotations

import base64
import socket
import threading
from typing import Any

import pytest
import requests
from served_app import Served, served
from serving import PATIENCE

from sdgen.serve import server as serving_server
from sdgen.serve.access import host_name, is_shown
from sdgen.serve.addresses import LOOPBACK_NAMES, is_loopback
from sdgen.serve.settings import Settings

TOKEN = "0123456789abcdef"


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    ("shown", "right"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN} ", True),
        (basic(f"user:{TOKEN}"), True),
        (basic(f":{TOKEN}"), True),
        (basic(TOKEN), True),
        ("", False),
        ("Bearer", False),
        ("Bearer ", False),
        (f"Bearer {TOKEN}0", False),
        (f"Bearer {TOKEN[:-1]}", False),
        (TOKEN, False),
        (f"Token {TOKEN}", False),
        (basic(f"{TOKEN}:user"), False),
        ("Basic !!!", False),
        (f"Basic {TOKEN}", False),
        ("Bearer " + "x" * 100_000, False),
    ],
)
def test_the_token_is_shown_as_bearer_or_as_the_password(shown: str, right: bool) -> None:
    assert is_shown(TOKEN, shown) is right


def test_a_token_of_user_and_password_is_shown_as_these() -> None:
    assert is_shown("user:0123456789abcdef", basic("user:0123456789abcdef"))
    assert not is_shown("user:0123456789abcdef", basic("other:0123456789abcdef"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST"])
def test_addresses_of_this_machine_alone_are_known(host: str) -> None:
    assert is_loopback(host)
    assert not is_loopback(f"{host}.example.org")


def test_the_name_in_a_host_header_is_without_port() -> None:
    assert [host_name(host) for host in ("LocalHost:80", "[::1]:80", "a.b", "")] == [
        "localhost",
        "[::1]",
        "a.b",
        "",
    ]


def post(server: Served, **headers: str) -> requests.Response:
    url = f"{server.url}/v1/images/generations"
    return requests.post(url, json={"prompt": "fox", "size": "64x64"}, headers=headers, timeout=PATIENCE)


def test_a_name_that_leads_here_by_another_name_server_is_refused() -> None:
    with served(Settings(models=("mini",), hosts=LOOPBACK_NAMES)) as server:
        assert post(server, Host="rebound.example.org").status_code == 421
        assert post(server, Host=f"rebound.example.org:{server.port}").status_code == 421
        assert post(server, Host=f"localhost:{server.port}").status_code == 200
        assert post(server).status_code == 200


def test_a_page_of_another_origin_may_not_call() -> None:
    with served(Settings(models=("mini",))) as server:
        assert post(server, Origin="https://example.org").status_code == 403
        assert post(server, Origin="null").status_code == 403
        assert post(server, Origin=server.url).status_code == 200
        assert server.drawer.pending == 0
        preflight = requests.options(
            f"{server.url}/v1/images/generations",
            headers={"Origin": "https://example.org", "Access-Control-Request-Method": "POST"},
            timeout=PATIENCE,
        )
        assert "access-control-allow-origin" not in preflight.headers


def test_a_page_of_an_origin_that_is_let_in_may() -> None:
    settings = Settings(models=("mini",), origins=("https://example.org",), token=TOKEN)
    with served(settings) as server:
        preflight = requests.options(
            f"{server.url}/v1/images/generations",
            headers={
                "Origin": "https://example.org",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization",
            },
            timeout=PATIENCE,
        )
        assert preflight.headers["access-control-allow-origin"] == "https://example.org"
        answer = post(server, Origin="https://example.org", Authorization=f"Bearer {TOKEN}")
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://example.org"
        assert post(server, Origin="https://other.example.org").status_code == 403


def test_who_shows_no_token_learns_how() -> None:
    with served(Settings(models=("mini",), token=TOKEN)) as server:
        answer = post(server)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert post(server, Authorization=basic(f"any:{TOKEN}")).status_code == 200


def test_the_metrics_count_calls_and_pictures() -> None:
    with served() as server:
        post(server)
        for path in ("/v1/none", "/v1/another-that-is-not-there"):
            requests.get(server.url + path, timeout=PATIENCE)
        text = requests.get(f"{server.url}/metrics", timeout=PATIENCE).text
    assert 'sdgen_http_requests_total{route="/v1/images/generations",status="200"} 1.0' in text
    assert 'sdgen_http_requests_total{route="",status="404"} 2.0' in text
    assert 'sdgen_images_total{model="mini"} 1.0' in text
    assert "sdgen_images_pending 0.0" in text


def connected(server: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)


def test_a_connection_that_sends_its_head_in_drops_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_server, "_IDLE_SECONDS", 0.1)
    with served() as server, connected(server) as silent, connected(server) as dripping:
        dripping.sendall(b"POST /v1/images/generations HTTP/1.1\r\nX-Drop: ")
        assert silent.recv(1) == b""
        assert dripping.recv(1) == b""


def test_a_call_that_takes_long_is_not_taken_for_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    from serving import Held

    monkeypatch.setattr(serving_server, "_IDLE_SECONDS", 0.05)
    engine: Any = Held()
    looks: list[int] = []
    look = serving_server._Protocol._look
    monkeypatch.setattr(
        serving_server._Protocol, "_look", lambda protocol: (looks.append(1), look(protocol))[1]
    )
    with served(engine=engine) as server, connected(server) as connection:
        body = b'{"prompt": "fox", "size": "64x64"}'
        head = f"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        engine.began()
        server.until(lambda: len(looks) >= 3)
        engine.permits.release()
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_two_hundred_connections_that_say_little_keep_nobody_waiting() -> None:
    with served() as server:
        slow = [connected(server) for _ in range(200)]
        try:
            for connection in slow:
                connection.sendall(b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Len")
            assert post(server).status_code == 200
        finally:
            for connection in slow:
                connection.close()


def test_answers_are_sent_at_once() -> None:
    """Without TCP_NODELAY each waits 40 ms for the client to acknowledge its head."""
    with served() as server, connected(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(100)
        (protocol,) = server.server.server_state.connections
        accepted = protocol.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_answer_that_nobody_takes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_server, "_IDLE_SECONDS", 0.1)
    with served() as server, socket.socket() as connection:
        name = server.service.files.add(bytes(100_000_000), "image/png")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(f"GET /v1/images/files/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        server.until(lambda: not server.server.server_state.connections)


def test_an_answer_that_is_taken_slowly_is_taken_whole() -> None:
    with served() as server, connected(server) as connection:
        name = server.service.files.add(bytes(60_000_000), "image/png")
        connection.sendall(f"GET /v1/images/files/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        taken = len(connection.recv(1))
        (protocol,) = server.server.server_state.connections
        server.until(lambda: protocol.cycle.response_complete)
        unsent = protocol.transport.get_write_buffer_size
        for _ in range(3):
            before = unsent()
            while unsent() == before:  # Some of it between any two looks.
                taken += len(connection.recv(1_000_000))
            looked = threading.Event()
            protocol.loop.call_soon_threadsafe(lambda done=looked: (protocol._look(), done.set()))
            assert looked.wait(PATIENCE)
        while taken < 60_000_000:
            data = connection.recv(1_000_000)
            assert data
            taken += len(data)
