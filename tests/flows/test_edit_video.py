"""Edit a clip from file to file, and reuse cached stages."""

import json
import logging
import re
import shutil
import time
from fractions import Fraction

import av
import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
)

from flows.edit_job import resolve
from flows.edit_request import Edit
from flows.edit_video import edit_stages
from stitchedit.options.composite import CompositeOptions
from storage.arrays.frame_array import FrameArray
from storage.video.info import probe, rgb
from tasks.runtime.stage_names import STAGES


def frames_of(path):
    info = probe(path)
    with av.open(str(path)) as container:
        return [(frame.pts * frame.time_base, rgb(frame, info).astype(int)) for frame in container.decode(video=0)]


def sound_of(path):
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.audio[0]) if packet.dts is not None]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in packets]


def states_of(flow_run):
    """Name of the state of every stage in a flow run, from Prefect's API."""
    only = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
    give_up = time.monotonic() + 120  # task runs reach the server after a delay
    with get_client(sync_client=True) as client:
        while True:
            runs = client.read_task_runs(flow_run_filter=only)
            known = [run for run in runs if run.state is not None]  # a run may arrive before its first state
            states = {run.name.rpartition("-")[0]: run.state.name for run in known if run.state.is_final()}
            if len(states) == len(STAGES) or time.monotonic() > give_up:
                return states
            time.sleep(0.2)


def test_frames_keep_number_times_size_and_rotation(finished):
    before, after = probe(finished.request.video), probe(finished.output)
    assert finished.output == finished.request.output
    kept = ("width", "height", "display_matrix", "pixel_format", "time_base")
    assert {name: getattr(after, name) for name in kept} == {name: getattr(before, name) for name in kept}
    times = [time for time, _ in frames_of(finished.output)]
    assert times == [time for time, _ in frames_of(finished.request.video)]
    assert times == [Fraction(pts, 15360) for pts in (0, 512, 1024, 2048, 2560, 3072)]


def test_sound_is_kept_byte_for_byte(finished):
    assert sound_of(finished.output) == sound_of(finished.request.video)
    assert len(sound_of(finished.output)) > 5


def test_the_face_changes_and_the_rest_stays_close_to_the_source(finished):
    folder = finished.artifacts["composite"].path
    patches, places = (FrameArray.open(folder / name).read() for name in ("patches", "places"))
    pairs = zip(frames_of(finished.request.video), frames_of(finished.output), strict=True)
    for number, ((_, before), (_, after)) in enumerate(pairs):
        left, top = places[number]
        shown = before[top : top + patches.shape[2], left : left + patches.shape[3]].shape
        alpha = np.zeros(before.shape[:2], np.uint8)
        alpha[top : top + shown[0], left : left + shown[1]] = patches[number, 3, : shown[0], : shown[1]]
        difference = np.abs(after - before).mean(axis=2)
        assert difference[alpha == 255].mean() > 2
        assert difference[alpha == 0].mean() < 1.5


def test_only_preview_sheet_and_report_are_written_beside_the_video(finished):
    names = {path.name for path in finished.output.parent.iterdir() if path.is_file()}
    assert names == {"out.mp4", "out_preview.mp4", "out_sheet.png", "out_report.html"}


def test_the_first_run_shows_every_stage_as_completed(finished):
    assert states_of(finished.flow_run) == dict.fromkeys(STAGES, "Completed")


def test_a_second_run_shows_every_stage_as_cached(copied, edit_once, told):
    again = edit_once(copied.request)

    assert states_of(again.flow_run) == dict.fromkeys(STAGES, "Cached")
    assert sorted(told.stages("cached")) == sorted(STAGES)
    assert again.output.read_bytes() == copied.output.read_bytes()


def test_another_strength_reuses_all_stages_up_to_the_tuned_generator(copied, edit_once, told):
    request = copied.request.model_copy(update={"edits": [Edit(direction="smile", strength=-2)]})
    again = edit_once(request)

    assert set(told.stages("cached")) == {"decode", "detect", "align", "occlude", "invert", "tune"}
    assert set(told.stages("finished")) == {"edit", "stitch", "composite", "encode", "measure", "report"}
    assert sorted(states_of(again.flow_run).values()) == ["Cached"] * 6 + ["Completed"] * 6
    assert again.output.read_bytes() != copied.output.read_bytes()


@pytest.mark.parametrize(("direction", "limited"), [("smile", True), ("lipstick", False)])
def test_lips_keep_the_colors_of_the_clip_unless_they_are_edited(finished, direction, limited):
    request, given = finished.request.model_copy(update={"edits": [Edit(direction=direction, strength=1)]}), {}

    def call(stage, *arguments):
        given[stage.name] = arguments
        return finished.artifacts[stage.name]

    edit_stages(call, resolve(request))
    (options,) = [one for one in given["composite"] if isinstance(one, CompositeOptions)]
    assert options.mouth_colors is limited


@pytest.mark.parametrize("stage", STAGES)
def test_a_deleted_artifact_reruns_only_its_stage(copied, edit_once, told, stage):
    shutil.rmtree(copied.artifacts[stage].path)
    edit_once(copied.request)

    assert told.stages("finished") == [stage]
    assert sorted(told.stages("cached")) == sorted(set(STAGES) - {stage})
    assert copied.artifacts[stage].digest == copied.artifacts[stage].digest


def test_a_missing_chunk_is_recomputed(copied, edit_once, told):
    crops = copied.artifacts["stitch"].path / "crops"
    next(path for path in sorted(crops.rglob("*")) if path.is_file() and path.name != "zarr.json").unlink()
    edit_once(copied.request)

    assert told.stages("finished") == ["stitch"]


def test_a_deleted_output_is_written_again(copied, edit_once):
    edit_once(copied.request)
    copied.request.output.unlink()
    edit_once(copied.request)

    assert copied.request.output.read_bytes() == copied.output.read_bytes()


def test_every_stage_is_in_the_log_of_the_run(copied, edit_once, caplog):
    caplog.set_level(logging.INFO, "prefect.task_runs")
    edit_once(copied.request)
    lines = [record.getMessage() for record in caplog.records if record.name == "prefect.task_runs"]
    for stage in STAGES:
        wanted = re.compile(
            rf"clip={re.escape(copied.source.path.name)} (face=largest )?stage={stage} event=cached key="
        )
        assert any(wanted.match(line) for line in lines), stage


def test_prefect_shows_the_numbers_of_the_run(finished):
    def artifact(key):
        name, run = ArtifactFilterKey(any_=[key]), ArtifactFilterFlowRunId(any_=[finished.flow_run])
        (found,) = client.read_artifacts(artifact_filter=ArtifactFilter(key=name, flow_run_id=run))
        return found

    with get_client(sync_client=True) as client:
        found, link = artifact("edit-summary"), artifact("edit-report")
        table, sheet = json.loads(artifact("edit-numbers").data), artifact("edit-sheet")
    assert finished.output.with_name("out_report.html").as_uri() in link.data
    assert found.data == (finished.artifacts["report"].path / "summary.md").read_text()
    assert "| 0–5 |" in found.data
    assert [(row["face"], row["frames"]) for row in table] == [(0, "0-5")]
    assert table[0]["ring"] > 0
    assert sheet.data.startswith("data:image/jpeg;base64,")
