"""Headless Chromium, as Debian packages it, spoken to over its DevTools protocol."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_S = 60


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.complaints: list[str] = []  # what the console showed as errors or warnings, and what was thrown
        self._number = 0

    def __call__(self, method: str, **parameters: object) -> dict[str, Any]:
        """The answer of the browser to one command."""
        self._number += 1
        self.socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            told = json.loads(self.socket.recv(timeout=PATIENCE_S))
            if told.get("id") == self._number:
                assert "error" not in told, told["error"]
                return told["result"]  # type: ignore[no-any-return]
            self._listen(told)

    def open(self, path: Path) -> None:
        """Load a file and wait until it is there with its pictures."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")
        self("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
        self("Page.navigate", url=path.as_uri())
        self.wait(f"location.href === {json.dumps(path.as_uri())} && document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What an expression gives on the page; a promise is waited for."""
        told = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until it is true."""
        give_up = time.monotonic() + PATIENCE_S
        while not self.value(expression):
            assert time.monotonic() < give_up, f"not within {PATIENCE_S} s: {expression}"
            time.sleep(0.1)

    def _listen(self, told: dict[str, Any]) -> None:
        method, facts = told.get("method"), told.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(facts["exceptionDetails"]["text"])
        elif method == "Log.entryAdded" and facts["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(facts["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and facts["type"] in {"error", "warning", "assert"}:
            self.complaints.append(str(facts["args"]))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port that a headless browser listens to."""
    program = next((found for found in map(shutil.which, NAMES) if found), None)
    if program is None:
        pytest.skip(f"needs a browser: {', '.join(NAMES)} (Debian's package chromium)")
    profile = tmp_path_factory.mktemp("profile")
    words = [program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    words += ["--autoplay-policy=no-user-gesture-required", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        told, give_up = profile / "DevToolsActivePort", time.monotonic() + PATIENCE_S
        while not (told.exists() and told.read_text().strip()):
            assert process.poll() is None, f"{program} ended with {process.returncode}"
            assert time.monotonic() < give_up, f"{program} did not start within {PATIENCE_S} s"
            time.sleep(0.1)
        yield int(told.read_text().splitlines()[0])
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)


@pytest.fixture
def open_page(browser: int) -> Iterator[Callable[[Path], Page]]:
    """`open_page(path)` shows a file."""
    with urlopen(f"http://127.0.0.1:{browser}/json/list", timeout=PATIENCE_S) as answer:  # the tab it began with
        address = next(tab["webSocketDebuggerUrl"] for tab in json.load(answer) if tab["type"] == "page")
    with connect(address, max_size=None) as socket:

        def show(path: Path) -> Page:
            page = Page(socket)
            page.open(path)
            return page

        yield show
