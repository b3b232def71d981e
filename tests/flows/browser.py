"""A headless Chromium, driven through its DevTools protocol: opens pages, and notes what they ask and complain of."""

import base64
import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

# No name but that of this machine has an address, and no component of Chromium's own asks for one.
OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--window-size=1280,1600",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


class Browser:
    """One page.

    Attributes:
        asked: addresses that it asked for, all pages together.
        errors: what was logged as an error, or raised and not caught.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.numbers = itertools.count(1)
        self.asked: list[str] = []
        self.errors: list[str] = []
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a command; what is told meanwhile is noted."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            told = json.loads(self.socket.recv(timeout=60))
            if told.get("id") == number:
                assert "error" not in told, told
                return told["result"]
            self._note(told)

    def open(self, address: str, *, until: str, seconds: float = 60) -> None:
        """Opens a page, and waits until an expression of JavaScript is true there."""
        self.call("Page.navigate", url=address)
        self.wait(until, seconds)

    def wait(self, until: str, seconds: float = 60) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({until})"):
            assert time.monotonic() < end, f"{until} is not so: {self.evaluate(TEXT)[:2000]}"
            time.sleep(0.2)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Writes what is to be seen."""
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def _note(self, told: dict[str, Any]) -> None:
        parameters = told.get("params", {})
        if told["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            self.asked.append(parameters.get("url") or parameters["request"]["url"])
        elif told["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(f"{parameters['entry']['text']} {parameters['entry'].get('url')}")
        elif told["method"] == "Runtime.exceptionThrown":
            self.errors.append(str(parameters["exceptionDetails"]))
        elif told["method"] == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.errors.append(str(parameters["args"]))


TEXT = "document.body ? document.body.innerText : ''"


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a folder of its own; the test is skipped where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no Chromium (Debian package: chromium)")
    command = [program, *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
    with (profile.parent / "chromium.log").open("w+") as log:
        process = subprocess.Popen(command, stderr=log)
        try:
            port = _port(Path(log.name))
            pages = _pages(port)
            with connect(pages, max_size=None, proxy=None) as socket:
                yield Browser(socket)
        finally:
            process.terminate()
            process.wait(20)


def _port(log: Path) -> int:
    for _ in range(300):
        if found := re.search(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/", log.read_text()):
            return int(found[1])
        time.sleep(0.1)
    raise AssertionError(f"Chromium does not start: {log.read_text()}")


def _pages(port: int) -> str:
    """The address of the first page's socket."""
    from urllib.request import urlopen

    for _ in range(100):
        with urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            for each in json.load(answer):
                if each["type"] == "page":
                    return str(each["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise AssertionError("Chromium has no page")
