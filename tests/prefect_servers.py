"""Prefect servers as in production: on SQLite, or on Postgres and Redis from Debian's packages."""

import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL

START_S = 180


@contextmanager
def process(command: list[str], settings: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process during the block, with its output in a file."""
    with log.open("a") as file, subprocess.Popen(command, env=os.environ | settings, stdout=file, stderr=file) as child:
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class PrefectServer:
    """A server that can be killed and restarted with the same database."""

    folder: Path
    database: dict[str, str]
    port: int = field(default_factory=free_port)
    login: str = field(default_factory=lambda: f"operator:{secrets.token_hex(8)}")
    child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def settings(self) -> dict[str, str]:
        """Environment of its clients."""
        return self.database | {
            "PREFECT_HOME": str(self.folder),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_API_AUTH_STRING": self.login,
            "PREFECT_API_AUTH_STRING": self.login,
            "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
            "PREFECT_SERVER_METRICS_ENABLED": "true",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_LOGGING_LEVEL": "WARNING",
        }

    @property
    def client_settings(self) -> dict[Any, str]:
        """Settings of a client in this process, for `temporary_settings`."""
        return {PREFECT_API_URL: self.url, PREFECT_API_AUTH_STRING: self.login}

    def start(self) -> None:
        """Start the server and wait until it responds."""
        address = ["--host", "127.0.0.1", "--port", str(self.port), "--no-ui"]
        log = self.folder / "server.log"
        with log.open("a") as file:
            command = [sys.executable, "-m", "prefect", "server", "start", *address]
            self.child = subprocess.Popen(command, env=os.environ | self.settings, stdout=file, stderr=file)
        wait_for(lambda: answers(f"{self.url}/health"), self.child, log)

    def kill(self) -> None:
        """Kill it with SIGKILL, as in a power cut."""
        assert self.child is not None
        self.child.kill()
        self.child.wait()


def wait_for(ready: Callable[[], bool], child: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + START_S
    while not ready():
        assert child.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < give_up, f"not ready in {START_S} s\n{log.read_text()[-3000:]}"
        time.sleep(0.3)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def sqlite(folder: Path) -> Iterator[dict[str, str]]:
    """Settings of a server with a database file in `folder`."""
    yield {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }


@contextmanager
def postgres_and_redis(folder: Path) -> Iterator[dict[str, str]]:
    """Settings of a server on a Postgres and a Redis that run during the block."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not binaries or not shutil.which("redis-server") or importlib.util.find_spec("prefect_redis") is None:
        pytest.skip("needs Debian's postgresql and redis-server, and `pip install --editable '.[server]'`")
    with tempfile.TemporaryDirectory() as place:  # not below pytest's folder, which other users cannot read
        data, log = Path(place) / "data", folder / "postgres.log"
        as_user: list[str] = []
        if os.geteuid() == 0:  # Postgres refuses to run as root
            os.chown(place, pwd.getpwnam("postgres").pw_uid, -1)
            as_user = ["runuser", "-u", "postgres", "--"]
        options = ["-D", str(data), "-U", "prefect", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        subprocess.run([*as_user, str(binaries[-1].with_name("initdb")), *options], check=True, capture_output=True)
        database, broker = free_port(), free_port()
        listen = ["-k", place, "-c", "listen_addresses=127.0.0.1", "-p", str(database)]
        with (
            process([*as_user, str(binaries[-1]), "-D", str(data), *listen], {}, log) as postgres,
            process(["redis-server", "--port", str(broker), "--save", ""], {}, folder / "redis.log") as redis,
        ):
            wait_for(lambda: listens(database), postgres, log)
            wait_for(lambda: listens(broker), redis, folder / "redis.log")
            yield {
                "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://prefect@127.0.0.1:{database}/postgres",
                "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
                "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
                "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
                "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
                "PREFECT_REDIS_MESSAGING_HOST": "127.0.0.1",
                "PREFECT_REDIS_MESSAGING_PORT": str(broker),
            }


DATABASES = {"sqlite": sqlite, "postgres": postgres_and_redis}
