"""The flow `edit-video`: all stages of the method in order. Read this first."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.edit_job import EditJob, read_config, resolve, take_over
from flows.edit_request import EditRequest
from flows.requests.export import destination, export_result
from flows.server.artifacts import show_edit
from flows.server.attempts import begin
from flows.server.run_log import log_stages
from storage.errors import DamagedError
from storage.files import encodable
from storage.runs import RunRecord, recorded
from storage.video.remote_clips import check_copy, fetch
from tasks.decode import decode_video
from tasks.runtime.progress import report_event

REPAIRS = 8  # times that a run recomputes damaged artifacts before it fails

Call = Callable[..., Any]
"""`call(stage, *arguments)` runs, submits or plans a stage and returns a value to pass to later stages."""

ONE_AT_A_TIME: Any = ThreadPoolTaskRunner(max_workers=1)  # each stage wants the whole machine


@dataclass(frozen=True)
class Stages:
    """Return values of `call`: for all stages in order, and for those whose results are exported."""

    every: list[Any]
    video: Any
    measures: list[Any]  # one per person
    report: Any


def edit_stages(
    call: Call,
    job: EditJob,
    on_aligned: Callable[[list[Any], list[Any]], None] = lambda before, aligned: None,
) -> Stages:
    """Call every stage of one edit in order. This is the graph of the method, also for planning.

    Args:
        on_aligned: called with the earlier stages and those of `align`, one per person, before any later stage. It may
            raise an error about the choice of faces.
    """
    config, device, source = job.config, job.request.device, job.source
    clip = call(decode_video, source, config.decode, config.shots)
    # The other stages take seconds to import (torch, SciPy); this happens while the clip is decoded.
    from stitchedit.detect.finder import resolve_backend  # noqa: PLC0415
    from tasks import align, composite, detect, edit, encode, invert, measure, occlude, report, stitch, tune  # noqa: PLC0415

    searched = replace(config.detect, backend=resolve_backend(config.detect.backend))  # "auto" is no recipe
    detected = call(detect.detect_faces, source, clip, searched)
    targets, persons = job.targets, []
    aligned = [
        call(align.align_faces, source, clip, detected, target.align, device, target.photo) for target in targets
    ]
    on_aligned([clip, detected], aligned)
    every = [clip, detected, *aligned]
    for target, faces in zip(targets, aligned, strict=True):
        occluded = call(occlude.find_occlusions, clip, faces, config.occlude, device)
        codes = call(invert.invert_faces, faces, occluded, config.invert, device)
        weights = call(tune.tune_weights, faces, occluded, codes, config.tune, device)
        edited = call(edit.edit_faces, clip, faces, codes, target.edit, job.directions)
        stitched = call(stitch.stitch_faces, faces, codes, weights, edited, config.stitch, config.masks, device)
        pasted = replace(config.composite, mouth_colors=config.composite.mouth_colors and not target.edit.colors_lips)
        patches = call(composite.composite_faces, source, clip, faces, occluded, stitched, pasted, config.masks)
        persons.append((faces, occluded, codes, weights, patches))
        every += [occluded, codes, weights, edited, stitched, patches]
    every_face, *_, every_patch = zip(*persons, strict=True)
    video = call(encode.encode_video, source, clip, every_face, every_patch, config.encode, job.output.suffix)
    measures = [
        call(measure.measure_edit, source, clip, *artifacts, target.edit, config.measure, device)
        for artifacts, target in zip(persons, targets, strict=True)
    ]
    page = call(
        report.write_report, source, clip, every_face, every_patch, tuple(measures), video, job.request.titles()
    )
    return Stages([*every, video, *measures, page], video, measures, page)


@flow(name="edit-video", persist_result=False, task_runner=ONE_AT_A_TIME)
def edit_video(request: EditRequest) -> Path:
    """Edit the faces of one clip. Artifacts in the store are reused."""
    begin()
    job = take_over(request) or _resolved(request)
    parameters = request.model_dump(mode="json")
    clip, edit = job.source, request.describe()
    with (
        log_stages(encodable(clip.path.name)),
        recorded(job.store, str(clip.path), clip.digest, edit, parameters, flow_run.id) as run,
    ):
        return _repaired(lambda: _run_and_export(job, run))


def _resolved(request: EditRequest) -> EditJob:
    config = read_config(request)  # before gigabytes are downloaded
    if request.origin:
        check_copy(request.origin, request.video)
        fetch(request.origin, request.video)
    return resolve(request, config)


def _run_and_export(job: EditJob, run: RunRecord) -> Path:
    stages = _run_stages(job, run)
    report = stages.report.result()
    measures = [measured.result() for measured in stages.measures]
    target = destination(job.store, measures, job.output, job.request.hold)
    run.wrote(export_result(job.store, stages.video.result(), report, target))
    show_edit(encodable(f"{job.source.path.name}: {job.request.describe()}"), report, measures, target)
    return target


def _run_stages(job: EditJob, run: RunRecord) -> Stages:
    """Submit all stages and wait for them."""

    def refuse_same_person(before: list[Any], aligned: list[Any]) -> None:
        """Refuse two choices of the same person before the long stages are submitted and can no longer be stopped."""
        if len(aligned) > 1:
            from tasks.inputs.persons import check_different  # noqa: PLC0415 - imported already, see `edit_stages`

            for stage in (*before, *aligned):
                run.reached(stage.result())
            check_different(job.store, job.chosen_faces(), [faces.result() for faces in aligned])

    stages = edit_stages(lambda stage, *arguments: stage.submit(job.store, *arguments), job, refuse_same_person)
    for stage in stages.every:  # in order, so that the first error is the cause
        run.reached(stage.result())
    return stages


def _repaired(edit: Callable[[], Path]) -> Path:
    """Call `edit`, and again after a stage found a damaged artifact, which the store then drops."""
    for _ in range(REPAIRS):
        try:
            return edit()
        except DamagedError as error:
            if error.path is None:
                raise
            report_event("repair", "noted", text=f"{error} The missing parts are recomputed now.")
    return edit()
