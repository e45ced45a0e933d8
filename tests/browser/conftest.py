"""Headless Chromium from Debian's package, controlled over its DevTools protocol."""

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
    """A tab of the browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.complaints: list[str] = []  # errors and warnings of the console, and exceptions
        self._number = 0

    def __call__(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command to the browser and return its answer."""
        self._number += 1
        self.socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=PATIENCE_S))
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                return message["result"]  # type: ignore[no-any-return]
            self._listen(message)

    def open(self, path: Path) -> None:
        """Load a file and wait until it is complete with its images."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")
        self("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
        self("Page.navigate", url=path.as_uri())
        self.wait(f"location.href === {json.dumps(path.as_uri())} && document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """Evaluate an expression on the page; await a promise."""
        answer = self("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until the expression is true."""
        give_up = time.monotonic() + PATIENCE_S
        while not self.value(expression):
            assert time.monotonic() < give_up, f"not within {PATIENCE_S} s: {expression}"
            time.sleep(0.1)

    def _listen(self, message: dict[str, Any]) -> None:
        method, facts = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(facts["exceptionDetails"]["text"])
        elif method == "Log.entryAdded" and facts["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(facts["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and facts["type"] in {"error", "warning", "assert"}:
            self.complaints.append(str(facts["args"]))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a headless browser."""
    program = next((found for found in map(shutil.which, NAMES) if found), None)
    if program is None:
        pytest.skip(f"needs a browser: {', '.join(NAMES)} (Debian's package chromium)")
    profile = tmp_path_factory.mktemp("profile")
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    command += ["--autoplay-policy=no-user-gesture-required", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port, give_up = profile / "DevToolsActivePort", time.monotonic() + PATIENCE_S
        while not (port.exists() and port.read_text().strip()):
            assert process.poll() is None, f"{program} ended with {process.returncode}"
            assert time.monotonic() < give_up, f"{program} did not start within {PATIENCE_S} s"
            time.sleep(0.1)
        yield int(port.read_text().splitlines()[0])
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)


@pytest.fixture
def open_page(browser: int) -> Iterator[Callable[[Path], Page]]:
    """`open_page(path)`: open a file in the browser's tab."""
    with urlopen(f"http://127.0.0.1:{browser}/json/list", timeout=PATIENCE_S) as answer:  # the initial tab
        address = next(tab["webSocketDebuggerUrl"] for tab in json.load(answer) if tab["type"] == "page")
    with connect(address, max_size=None) as socket:

        def show(path: Path) -> Page:
            page = Page(socket)
            page.open(path)
            return page

        yield show
