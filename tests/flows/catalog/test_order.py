"""The order of clips, the stages that take turns on the device, and the summary without a server."""

import json
import logging
import shutil
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.catalog.jobs import in_order, prepare_job
from flows.catalog.reading import open_catalog
from flows.catalog.request import CatalogRequest
from flows.edit_catalog import show_catalog
from flows.edit_video import edit_stages
from tasks.runtime.stage_names import ON_DEVICE, STAGES


@pytest.fixture
def opened(copied, tmp_path):
    """A catalog of a fully cached clip, one to be tuned again, and both at a higher priority."""
    shutil.copy(copied.request.video, tmp_path / "a.mp4")
    options = copied.request.options
    more = [*options, "tune.passes=3"]
    clips = [
        {"output": "dear.mp4", "options": more},
        {"output": "cheap.mp4", "options": options},
        {"output": "dear_first.mp4", "options": more, "priority": 1},
        {"output": "cheap_first.mp4", "options": options, "priority": 1},
    ]
    shared = {"source": "a.mp4", "edits": {"smile": 2}}
    content = {"catalog": "night", "consent_required": False, "clips": [shared | clip for clip in clips]}
    (tmp_path / "night.yaml").write_text(json.dumps(content))
    return open_catalog(tmp_path / "night.yaml")


def test_clips_are_ordered_by_priority_then_by_cost(opened, copied):
    request = CatalogRequest(catalog=opened.path, store=copied.request.store, device="cpu")
    jobs = in_order(prepare_job(clip, opened, request, copied.store) for clip in opened.clips)
    assert [Path(job.request.output).stem for job in jobs] == ["cheap_first", "dear_first", "cheap", "dear"]
    assert jobs[0].cost == 0 < jobs[1].cost


def test_an_edit_calls_the_listed_stages_in_their_order(copied):
    called = []
    edit_stages(lambda stage, *_: called.append(stage.name), copied.job)
    assert tuple(called) == STAGES
    assert set(STAGES) > ON_DEVICE


def test_a_missing_server_at_the_end_of_a_run_only_logs_a_warning(opened, caplog):
    no_server = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(no_server), caplog.at_level(logging.WARNING):
        show_catalog(opened, [], opened.path)
    assert "night is finished; its artifacts could not be created in Prefect" in caplog.text
