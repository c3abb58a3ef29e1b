"""One browser for all tests, a fresh page and a fresh made-up server for each; what the console says counts as a failure.

    python -m venv VENV && VENV/bin/pip install -r web/tests/requirements.txt
    VENV/bin/python web/tests/run.py [NAME ...]

CHROMIUM names the browser (chromium on the path); without axe-core its checks are skipped, and said to be.
"""

import json
import os
import shutil
import time
import traceback
import urllib.request
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

import mock

FLAGS = "--no-sandbox --disable-gpu --disable-quic --disable-background-networking --disable-component-update --disable-sync"
TESTS = []
expect.set_options(timeout=8000)


def test(function):
    """Marks a test. It gets a `Desk`."""
    TESTS.append(function)
    return function


def soon(holds, seconds=6):
    """Waits until something holds. The pages' policy forbids the browser to evaluate conditions by itself."""
    end = time.time() + seconds
    while not holds():
        assert time.time() < end, "it never came to be"
        time.sleep(0.05)


class Desk:
    """A browser page at the chat, and what tests do there again and again."""

    def __init__(self, browser, url):
        self.browser, self.url, self.expected, self.said = browser, url, [], []
        self.open()

    def open(self, **settings):
        """A new browser profile, with nothing kept in it."""
        self.context = self.browser.new_context(**{"viewport": {"width": 1200, "height": 800}, "accept_downloads": True, **settings})
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=self.url)
        self.page = self.context.new_page()
        self.page.on("console", lambda line: line.type in ("error", "warning") and self.said.append(line.text))
        self.page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))
        # Attempts to leave the server would be seen here.
        self.page.on("request", lambda request: request.url.startswith((self.url, "data:", "blob:")) or self.said.append(f"foreign: {request.url}"))
        return self.page

    def chat(self, key="test-key", path="/"):
        if key:
            self.page.add_init_script(f"localStorage.getItem('argand.key') ?? localStorage.setItem('argand.key', '{key}')")
        self.page.goto(self.url + path)
        if path.endswith("/") and key:
            expect(self.page.locator("#model option")).not_to_have_count(0)
        return self.page

    def send(self, text):
        self.page.fill("#question", text)
        self.page.press("#question", "Enter")

    def ask(self, text):
        """Sends and waits for the end; the last answer."""
        before = self.page.locator(".message.assistant").count()
        self.send(text)
        expect(self.answers).to_have_count(before + 1)
        expect(self.answers.last).to_have_attribute("aria-busy", "false")
        return self.answers.last

    @property
    def answers(self):
        return self.page.locator(".message.assistant")

    @property
    def questions(self):
        return self.page.locator(".message.user")

    def server(self, path, method="GET"):
        with urllib.request.urlopen(urllib.request.Request(self.url + path, method=method)) as found:
            return json.load(found)

    def close(self):
        self.context.close()
        unexpected = [line for line in self.said if not any(word in line for word in self.expected)]
        assert not unexpected, f"the console says: {unexpected}"


def browser_path():
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


def axe_script():
    """The source of axe-core, or None."""
    try:
        import axe_playwright_python
    except ImportError:
        return None
    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()


def run(names):
    server, url = mock.serve()
    failed, start = [], time.time()
    chosen = [each for each in TESTS if not names or any(name in each.__name__ for name in names)]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path(), args=FLAGS.split())
        for each in chosen:
            mock.WORLD.reset()
            begun = time.time()
            desk = Desk(browser, url)
            try:
                each(desk)
                desk.close()
                print(f"ok      {each.__name__} ({time.time() - begun:.1f} s)", flush=True)
            except Exception:
                failed.append(each.__name__)
                print(f"FAILED  {each.__name__}\n{traceback.format_exc(limit=4)}", flush=True)
                desk.context.close()
        browser.close()
    server.shutdown()
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed in {time.time() - start:.0f} s")
    return 1 if failed or not chosen else 0


