"""Who may ask, from where, how much and how slowly."""

import contextlib
import json
import resource
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from conftest import KEY, SECONDS, URL
from routes import is_open, routes

HOST, PORT = urlsplit(URL).hostname, urlsplit(URL).port or 80
ALL = list(routes())
CLOSED = [(method, path) for method, path, operation in ALL if not is_open(operation)]
OPEN = [(method, path) for method, path, operation in ALL if is_open(operation)]
PATHS = sorted({path for _, path, _ in ALL})
ANY_METHOD = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.fixture(scope="module")
def stranger():
    with httpx.Client(base_url=URL, timeout=30) as client:
        yield client


def is_alive():
    return httpx.get(f"{URL}/health", timeout=30).status_code == 200


@pytest.mark.parametrize("path", [*PATHS, "/absent", "/v1/absent", "/HEALTH", "/health/", "/health.css"])
@pytest.mark.parametrize("method", ANY_METHOD)
def test_nothing_without_a_key(stranger, method, path):
    answer = stranger.request(method, path)
    if path in {path for _, path in OPEN}:
        assert answer.status_code == (200 if method in ("GET", "HEAD") else 405)
    else:
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "Basic YTpi", "wrong", "Bearer \xff", "Bearer " + "x" * 4000])
def test_nothing_with_a_wrong_key(stranger, header):
    headers = {"authorization": header.encode("latin-1")}
    assert stranger.get("/v1/models", headers=headers).status_code == 401
    assert stranger.get("/v1/models", headers={"x-api-key": "wrong"}).status_code == 401


def test_a_key_in_either_header(stranger):
    for headers in ({"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}, {"x-api-key": KEY}):
        assert stranger.get("/v1/models", headers=headers).status_code == 200
    assert stranger.get("/v1/models", params={"key": KEY, "api_key": KEY}).status_code == 401


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_a_key_is_for_what_it_is_for(stranger, admin, keys, method, path):
    status = stranger.request(method, path, headers={"authorization": f"Bearer {keys['hub-read']}"}, json={}).status_code
    if path.startswith("/v1/models"):
        assert status in (200, 404)
    elif path == "/openapi.json":
        assert status in (200, 403)
    else:
        assert status == 403


@pytest.fixture(scope="module")
def keys(admin):
    return {scope: admin.make_key(scopes=[scope])["secret"] for scope in ("hub-read", "inference", "usage")}


@pytest.mark.parametrize(
    ("scope", "path", "status"),
    [
        ("inference", "/metrics", 403),
        ("inference", "/admin/v1/state", 403),
        ("inference", "/admin/v1/keys", 403),
        ("usage", "/metrics", 200),
        ("usage", "/admin/v1/keys", 403),
        ("inference", "/v1/models", 200),
    ],
)
def test_scopes(stranger, keys, scope, path, status):
    assert stranger.get(path, headers={"authorization": f"Bearer {keys[scope]}"}).status_code == status


def test_a_key_makes_no_keys(stranger, keys):
    for scope, key in keys.items():
        answer = stranger.post("/admin/v1/keys", json={"name": "more", "scopes": ["admin"]}, headers={"x-api-key": key})
        assert answer.status_code == 403, scope


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1.evil.example", "http://localhost:1", "x", ""])
@pytest.mark.parametrize("path", PATHS)
def test_foreign_pages_are_refused(stranger, path, origin):
    for method in ("GET", "POST", "OPTIONS"):
        headers = {"origin": origin, "authorization": f"Bearer {KEY}", "access-control-request-method": "POST"}
        answer = stranger.request(method, path, headers=headers)
        assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers


def test_own_pages_are_not(stranger):
    headers = {"origin": f"http://{HOST}:{PORT}", "authorization": f"Bearer {KEY}"}
    assert stranger.get("/v1/models", headers=headers).status_code == 200


def test_secrets_are_shown_once(http, admin):
    key = admin.make_key()
    listed = http.get("/admin/v1/keys").text
    assert key["id"] in listed and key["secret"] not in listed and KEY not in listed


# Raw connections.


@contextlib.contextmanager
def connection(seconds=60):
    with socket.create_connection((HOST, PORT), timeout=seconds) as stream:
        yield stream


def head(path="/v1/chat/completions", *headers, method="POST"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {HOST}:{PORT}", f"Authorization: Bearer {KEY}", *headers, "", ""]).encode()


def rest(stream) -> bytes:
    """All that comes until the server closes."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while piece := stream.recv(65536):
            said += piece
    return said


def status(said: bytes) -> int:
    return int(said.split(b" ", 2)[1]) if said.startswith(b"HTTP/1.1 ") else 0


@pytest.mark.parametrize(
    "path", ["/v1/models/../../health", "//health", "/./health", "/health/../v1/models", "/%68ealth", "/health%00", "/health;x", "http://x/v1/models"]
)
def test_no_way_around_by_another_name(path):
    with connection(30) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{PORT}\r\nConnection: close\r\n\r\n".encode())
        assert status(rest(stream)) in (400, 401)


def test_a_large_body_is_taken(http, model):
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1, "metadata": {"x": "x" * (3 << 20)}}
    assert http.post("/v1/chat/completions", json=body).status_code == 200


def drip(stream, data: bytes, seconds: float) -> float:
    """Sends a byte a second until the server has had enough; how long that took."""
    start = time.monotonic()
    stream.settimeout(1)
    for byte in data:
        if time.monotonic() - start > seconds:
            break
        try:
            stream.send(bytes([byte]))
            if not stream.recv(65536):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - start


def test_slow_senders_are_left():
    """Heads and bodies that come a byte a second, connections that say nothing, and those that have asked before."""

    def slow_head():
        with connection() as stream:
            return drip(stream, head() * 2, 60)

    def slow_body():
        with connection() as stream:
            stream.sendall(head("/v1/chat/completions", "Content-Length: 1000", "Content-Type: application/json"))
            return drip(stream, b"x" * 1000, 60)

    def silent():
        with connection() as stream:
            start = time.monotonic()
            rest(stream)
            return time.monotonic() - start

    def idle():
        with connection() as stream:
            stream.sendall(head("/health", method="GET"))
            start = time.monotonic()
            rest(stream)
            return time.monotonic() - start

    with ThreadPoolExecutor(4) as pool:
        times = {work.__name__: pool.submit(work) for work in (slow_head, slow_body, silent, idle)}
        times = {name: time.result() for name, time in times.items()}
    assert all(seconds < 45 for seconds in times.values()), times


def test_a_key_is_asked_for_before_the_body():
    with connection(10) as stream:
        stream.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000000\r\n\r\n".encode())
        assert status(stream.recv(65536)) == 401


def test_giant_heads():
    for line in ("X-Long: " + "x" * (1 << 20), "\r\n".join(f"X-{i}: y" for i in range(20000))):
        with connection() as stream:
            with contextlib.suppress(OSError):
                stream.sendall(head("/v1/models", line, method="GET"))
            with contextlib.suppress(OSError):
                assert status(stream.recv(65536)) in (431, 400, 0)
    assert is_alive()


def test_giant_paths():
    assert httpx.get(f"{URL}/v1/models/{'x' * 30000}", headers={"x-api-key": KEY}).status_code in (404, 414, 431)


def test_endless_bodies():
    with connection() as stream:
        stream.sendall(head("/v1/chat/completions", "Transfer-Encoding: chunked", "Content-Type: application/json"))
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        sent, said = 0, b""
        with contextlib.suppress(OSError):
            for _ in range(200):
                stream.sendall(chunk)
                sent += len(chunk)
        with contextlib.suppress(OSError):
            said = stream.recv(65536)
        assert status(said) in (413, 0) and sent < 150 << 20
    assert is_alive()


@pytest.mark.parametrize(
    "body",
    [b"zz\r\nhello\r\n0\r\n\r\n", b"-1\r\n\r\n", b"5\r\nhel", b"ffffffffffffffffff\r\nx", b"5\r\nhello0\r\n\r\n"],
)
def test_broken_chunks(body):
    with connection(40) as stream:
        stream.sendall(head("/v1/chat/completions", "Transfer-Encoding: chunked") + body)
        stream.shutdown(socket.SHUT_WR)
        assert status(rest(stream)) in (400, 408, 0)
    assert is_alive()


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: -5",),
        ("Content-Length: 5x",),
        ("Transfer-Encoding: gzip",),
        ("Bad Header: x",),
        ("X: a\x00b",),
    ],
    ids=str,
)
def test_ambiguous_heads(headers):
    with connection(40) as stream:
        stream.sendall(head("/tokenize", *headers) + b'0\r\n\r\nGET /admin/v1/keys HTTP/1.1\r\nHost: x\r\n\r\n')
        stream.shutdown(socket.SHUT_WR)
        said = rest(stream)
        assert status(said) in (400, 501, 0) and b'"prefix"' not in said
    assert is_alive()


def test_no_http_at_all():
    for said in (b"\x16\x03\x01\x02\x00\x01\x00", b"\x00" * 1000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET\r\n\r\n"):
        with connection(40) as stream:
            stream.sendall(said)
            stream.shutdown(socket.SHUT_WR)
            assert status(rest(stream)) in (400, 0)
    assert is_alive()


@pytest.mark.alone
def test_readers_who_do_not_read(admin):
    """Answers that nobody takes hold nothing up, and are not computed for ever."""
    body = json.dumps({
        "model": httpx.get(f"{URL}/v1/models", headers={"x-api-key": KEY}).json()["data"][0]["id"], "stream": True,
        "messages": [{"role": "user", "content": "Count."}], "max_tokens": 300, "ignore_eos": True,
    }).encode()
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stream = stack.enter_context(connection())
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            stream.sendall(head("/v1/chat/completions", f"Content-Length: {len(body)}") + body)
        admin.wait_until_idle(60)
        assert is_alive()


@pytest.mark.alone
def test_two_thousand_connections():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2500:
        pytest.skip(f"only {hard} files may be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2500), hard))
    with contextlib.ExitStack() as stack:
        start = time.monotonic()
        for _ in range(2000):
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_connection((HOST, PORT), timeout=2))
            if time.monotonic() - start > 30:
                break
        # Those beyond the bound wait until silent ones are closed.
        assert httpx.get(f"{URL}/health", timeout=60).status_code == 200
        assert time.monotonic() - start < 90
    assert is_alive()


@pytest.mark.parametrize(
    "shape",
    [
        {"structured_outputs": {"regex": "((a{1,1000}){1,1000}){1,1000}"}},
        {"structured_outputs": {"regex": "(" * 5000 + ")" * 5000}},
        {"structured_outputs": {"choice": ["x" * 1000] * 5000}},
        {"structured_outputs": {"grammar": "start: a\n" + "".join(f"a{i}: a{i + 1} a{i + 1}\n" for i in range(2000))}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array", "minItems": 10**9}}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "http://127.0.0.1:1/x"}}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#"}}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"pattern": "^(a+)+$", "type": "string"}}}},
        {"messages": [{"role": "user", "content": "{{ cycler.__init__.__globals__ }}{% for i in range(99999999) %}{% endfor %}"}]},
        {"chat_template_kwargs": {"messages": "x", "bos_token": "x" * 100000}},
    ],
    ids=lambda shape: json.dumps(shape)[:50],
)
def test_bombs_cost_little(http, model, shape):
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], "max_tokens": 4, **shape}
    start = time.monotonic()
    answer = http.post("/v1/chat/completions", json=body, timeout=SECONDS)
    assert answer.status_code in (200, 400) and time.monotonic() - start < 30, answer.text[:500]
    assert is_alive()
