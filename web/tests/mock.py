"""A server that speaks the API of the pages and makes everything up: scripted answers, slow ones, failures.

    python3 web/tests/mock.py [--port 8099]

Serves the pages under the strictest policy that they must bear. What is answered follows from words of the last message
(see `scripts.py`). The key is `test-key`; `admin-key` may see the admin page. `/mock/...` tells tests what has arrived.
Standard library only.
"""

import argparse
import json
import math
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import ledger
import scripts

WEB = Path(__file__).resolve().parent.parent
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
KEYS = {"test-key": {"inference"}, "admin-key": {"inference", "admin"}}
POLICY = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"


class World:
    """What the server knows; one for a process, reset between tests."""

    def __init__(self):
        self.lock = threading.Lock()
        self.reset()

    def reset(self):
        self.requests, self.aborted, self.refused, self.answers = [], [], set(), 0
        self.models = {
            "lamp-7b": ["loaded", True, 4_500_000_000, 8192, ["chat"]],
            "lamp-vision": ["loaded", False, 2_100_000_000, 4096, ["chat", "vision"]],
            "org/sleepy-1b": ["unloaded", False, 0, 32768, ["chat"]],
            "embedder": ["loaded", False, 90_000_000, 512, ["embeddings"]],
        }
        self.keys = ledger.keys()

    def listed(self):
        return [
            {
                "id": name,
                "object": "model",
                "created": 1_790_000_000,
                "owned_by": "argand",
                "state": state,
                "context_length": length,
                "bytes": size,
                "capabilities": can,
            }
            for name, (state, _, size, length, can) in self.models.items()
        ]

    def state(self):
        now = int(time.time())
        wave = lambda at: 0.5 + 0.4 * math.sin(at / 47) + 0.1 * math.sin(at / 7)
        rates = [
            {
                "at": at,
                "prompt_per_second": round(1800 * wave(at) ** 2, 1),
                "generated_per_second": round(310 * wave(at + 9), 1),
                "running": round(12 * wave(at)),
                "queued": max(0, round(20 * (wave(at) - 0.7))),
            }
            for at in range(now - now % 2 - 600, now + 1, 2)
        ]
        models = [
            {
                "id": name,
                "state": state,
                "pinned": pinned,
                "bytes_resident": size if state == "loaded" else 0,
                "running": 3 if state == "loaded" else 0,
                "queued": 0,
                "pages": {"total": 512, "held": 130, "cached": 200, "free": 182} if state == "loaded" else None,
                "loaded_at": now - 5000 if state == "loaded" else None,
                "last_used": now - 40,
            }
            for name, (state, pinned, size, _, _) in self.models.items()
        ]
        resident = sum(model["bytes_resident"] for model in models)
        return {
            "version": "0.4.0",
            "uptime_seconds": 273_840,
            "requests": {"running": rates[-1]["running"], "queued": rates[-1]["queued"], "total": 48_211, "failed": 12, "refused": 310},
            "tokens": {"prompt": 91_204_118, "cached": 60_018_221, "generated": 12_400_551},
            "rates": rates,
            "models": models,
            "memory": {"budget_bytes": 16_000_000_000, "resident_bytes": resident},
        }


WORLD = World()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    # Answers

    def send(self, status, body=b"", kind="application/json", headers=()):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def json(self, value, status=200, headers=()):
        self.send(status, json.dumps(value).encode(), headers=headers)

    def error(self, status, message, code=None, headers=()):
        told = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        self.json({"error": told}, status, headers)

    def page(self, path):
        file = WEB / ("index.html" if path == "/" else path[1:])
        if file.parent != WEB or file.suffix not in TYPES or not file.is_file():
            return self.error(404, f"There is nothing at {path}.")
        security = [("Content-Security-Policy", POLICY), ("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store")]
        self.send(200, file.read_bytes(), f"{TYPES[file.suffix]}; charset=utf-8", security)

    def may(self, scope):
        scopes = KEYS.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if scopes is None:
            self.error(401, "A valid API key is needed.", "invalid_api_key")
        elif scope not in scopes:
            self.error(403, f"This key lacks the scope {scope}.", "insufficient_scope")
        return scopes is not None and scope in scopes

    # Routes

    def do_GET(self):
        self.path = self.path.removeprefix("/some/prefix")
        address = urlsplit(self.path)
        path, query = address.path, {name: values[0] for name, values in parse_qs(address.query).items()}
        if path == "/mock/requests":
            return self.json(WORLD.requests)
        if path == "/mock/aborted":
            return self.json(WORLD.aborted)
        if path == "/v1/models":
            return self.may("inference") and self.json({"object": "list", "data": WORLD.listed()})
        if path.startswith("/admin/v1/"):
            if not self.may("admin"):
                return None
            if path == "/admin/v1/state":
                return self.json(WORLD.state())
            if path == "/admin/v1/keys":
                return self.json({"keys": WORLD.keys})
            if path == "/admin/v1/usage":
                return self.json({"rows": ledger.usage(query)})
            return self.error(404, f"There is nothing at {path}.")
        return self.page(path)

    def do_POST(self):
        self.path = self.path.removeprefix("/some/prefix")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(body) if body else {}
        if self.path == "/mock/reset":
            WORLD.reset()
            return self.json({})
        if self.path == "/v1/chat/completions":
            return self.may("inference") and self.chat(body)
        if self.path.startswith("/admin/v1/") and not self.may("admin"):
            return None
        if self.path == "/admin/v1/keys":
            key = ledger.create(body)
            WORLD.keys.append(key)
            return self.json({**key, "secret": f"{key['prefix']}-3f9c2b7e8d1a4056c7"}, 201)
        parts = self.path.split("/")
        if self.path.startswith("/admin/v1/models/") and len(parts) == 6 and unquote(parts[4]) in WORLD.models:
            return self.act(unquote(parts[4]), parts[5])
        return self.error(404, f"There is nothing at {self.path}.")

    def do_DELETE(self):
        if not self.may("admin"):
            return None
        for key in WORLD.keys:
            if self.path == f"/admin/v1/keys/{key['id']}":
                key["revoked"] = int(time.time())
                return self.json(key)
        return self.error(404, "There is no such key.")

    def act(self, name, verb):
        model = WORLD.models[name]
        if verb in ("load", "unload"):
            model[0] = {"load": "loaded", "unload": "unloaded"}[verb]
            model[2] = model[2] or 800_000_000
        else:
            model[1] = verb == "pin"
        return self.json({"id": name, "state": model[0], "pinned": model[1]})

    def chat(self, body):
        with WORLD.lock:
            WORLD.requests.append(body)
            WORLD.answers += 1
            number = WORLD.answers
        last = body["messages"][-1]["content"]
        asked = last if isinstance(last, str) else " ".join(part.get("text", "picture") for part in last)
        if "server full" in asked and asked not in WORLD.refused:
            WORLD.refused.add(asked)
            return self.error(429, "All places are taken.", "rate_limit_exceeded", [("Retry-After", "2")])
        if "server broken" in asked:
            return self.error(500, "Something inside failed.")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for chunk in scripts.answer(asked, number, body):
                self.wfile.write(chunk)
                self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            with WORLD.lock:
                WORLD.aborted.append(asked)
        return None


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A browser that goes away is no error."""


def serve(port=0):
    """Starts the server in a thread and returns it with its address."""
    server = Server(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=8099)
    _, address = serve(parser.parse_args().port)
    print(f"{address}/ with the key test-key; {address}/admin.html with admin-key")
    threading.Event().wait()
