"""What Prefect's page of a run shows while it lasts."""

import logging

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.server import artifacts
from flows.server.artifacts import ProgressBars
from tasks.runtime.progress import Progress, logger


@pytest.fixture
def bars(prefect_server, monkeypatch, caplog):
    """Every record counts, as if it came seconds after the one before."""
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


def test_a_stage_that_lasts_has_one_bar_that_reaches_its_end(bars):
    progress = Progress("lasting", "faces", "lasting person 2")  # no stage of a run: their bars are on this server too
    for done in range(1, 4):
        progress._last = 0.0
        progress(done, 3)
    (bar,) = shown("progress-lasting")
    assert bar.data == 100
    assert bar.description == "lasting person 2: 3 of 3 faces"


def test_a_stage_that_is_done_at_once_has_none(bars, monkeypatch):
    monkeypatch.setattr(artifacts, "SHORT_S", 60)
    Progress("short", "frames")(10, 10)
    assert not shown("progress-short")


def test_a_server_that_is_away_stops_nothing(bars, monkeypatch, caplog):
    def away(*unused):
        raise ConnectionError("nobody there")

    monkeypatch.setattr(artifacts, "create_progress_artifact", away)
    Progress("tune", "steps")(1, 2)
    assert "No bar for tune: nobody there" in caplog.text
