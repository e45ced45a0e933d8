"""Prefect artifacts of a run in progress."""

import logging

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.server import artifacts
from flows.server.artifacts import ProgressBars
from tasks.runtime.progress import Progress, logger


@pytest.fixture
def bars(prefect_server, monkeypatch, caplog):
    """A handler without minimum times, so that every record updates its bar."""
    monkeypatch.setattr(artifacts, "SHORT_S", 0)
    monkeypatch.setattr(artifacts, "PERIOD_S", 0)
    caplog.set_level(logging.INFO, logger.name)
    handler = ProgressBars()
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def shown(key):
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))


def test_a_long_stage_has_one_bar_that_reaches_100_percent(bars):
    progress = Progress("lasting", "faces", "lasting person 2")  # not a real stage, whose bars this server may have
    for done in range(1, 4):
        progress._last = 0.0
        progress(done, 3)
    (bar,) = shown("progress-lasting")
    assert bar.data == 100
    assert bar.description == "lasting person 2: 3 of 3 faces"


def test_a_short_stage_has_no_bar(bars, monkeypatch):
    monkeypatch.setattr(artifacts, "SHORT_S", 60)
    Progress("short", "frames")(10, 10)
    assert not shown("progress-short")


def test_a_missing_server_only_logs_a_warning(bars, monkeypatch, caplog):
    def refuse(*unused):
        raise ConnectionError("connection refused")

    monkeypatch.setattr(artifacts, "create_progress_artifact", refuse)
    Progress("tune", "steps")(1, 2)
    assert "No progress artifact for tune: connection refused" in caplog.text
