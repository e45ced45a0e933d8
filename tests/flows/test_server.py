"""The pinned server schedules: with a newer FastAPI it does not start, with a newer SQLAlchemy it makes no runs."""

import os
import socket
import subprocess
import sys
import time

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.edit_video import edit_video

START_S = 180


@pytest.fixture
def api(tmp_path):
    """URL of a server as an operator starts it, services and all, with an empty database."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    settings = {
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}",
        "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
    }
    command = [
        sys.executable,
        "-m",
        "prefect",
        "server",
        "start",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-ui",
    ]
    log = (tmp_path / "server.log").open("w")
    with log, subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log) as server:
        try:
            _wait(f"{url}/health", server, tmp_path / "server.log")
            yield url
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait(url, server, log):
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        assert server.poll() is None, log.read_text()
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.3)
    pytest.fail(f"no answer from {url} in {START_S} s\n{log.read_text()}")


@pytest.mark.server
def test_a_deployment_with_a_cron_gets_scheduled_runs(api):
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        every_minute = DeploymentScheduleCreate(schedule=CronSchedule(cron="* * * * *"), active=True)
        flow = client.create_flow(edit_video)
        client.create_deployment(flow, "nightly", schedules=[every_minute])

        runs, give_up = [], time.monotonic() + 60
        while not runs and time.monotonic() < give_up:
            time.sleep(0.5)
            runs = client.read_flow_runs()
        assert {run.state.name for run in runs} == {"Scheduled"}
