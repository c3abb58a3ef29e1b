"""A server to talk to, and the clients that talk to it. The model is small: nothing here asks for wit."""

import os
import time
import uuid

import anthropic
import httpx
import openai
import pytest

URL = os.environ.get("ARGAND_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("ARGAND_KEY", "")
SECONDS = 110


def openai_client(key: str = KEY, **options) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{URL}/v1", api_key=key, **{"max_retries": 0, "timeout": SECONDS, **options})


def async_client(key: str = KEY, **options) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=key, **{"max_retries": 0, "timeout": SECONDS, **options})


@pytest.fixture(scope="session")
def url() -> str:
    return URL


@pytest.fixture(scope="session")
def key() -> str:
    return KEY


@pytest.fixture(scope="session")
def client() -> openai.OpenAI:
    return openai_client()


@pytest.fixture(scope="session")
def claude() -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0, timeout=SECONDS)


@pytest.fixture(scope="session")
def http() -> httpx.Client:
    with httpx.Client(base_url=URL, headers={"authorization": f"Bearer {KEY}"}, timeout=SECONDS) as http:
        yield http


@pytest.fixture(scope="session")
def model(client) -> str:
    return client.models.list().data[0].id


@pytest.fixture(scope="session")
def say(client, model):
    """Asks in a chat, greedily and briefly unless told otherwise."""

    def say(text="Name three colours.", **options):
        options = {"model": model, "temperature": 0, "max_tokens": 16, **options}
        options.setdefault("messages", [{"role": "user", "content": text}])
        return client.chat.completions.create(**options)

    return say


class Admin:
    """What an administrator does over HTTP."""

    def __init__(self, http):
        self.http = http

    def make_key(self, **options):
        """A key of its own, so that limits, prefixes and usage of tests do not meet."""
        answer = self.http.post("/admin/v1/keys", json={"name": f"test {uuid.uuid4()}", "scopes": ["inference"], **options})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def usage(self, key) -> dict:
        """What the ledger says of a key."""
        rows = self.http.get("/admin/v1/usage", params={"by": "key", "key": key["id"]}).json()["rows"]
        return rows[0] if rows else {"requests": 0, "input": 0, "cached": 0, "output": 0}

    def state(self) -> dict:
        return self.http.get("/admin/v1/state").json()

    def wait_until_idle(self, seconds=10) -> None:
        """A client that went away must leave nothing running."""
        until = time.monotonic() + seconds
        while True:
            requests = self.state()["requests"]
            if requests["running"] == 0 and requests["queued"] == 0:
                return
            assert time.monotonic() < until, f"still busy after {seconds} s: {requests}"
            time.sleep(0.05)


@pytest.fixture(scope="session")
def admin(http) -> Admin:
    if http.get("/admin/v1/state").status_code != 200:
        pytest.skip("the key is no administrator's")
    return Admin(http)
