"""The method, top to bottom: read this first."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.edit_request import EditRequest, check_request, check_words
from flows.requests.export import destination, export_result
from flows.server.artifacts import show_edit
from flows.server.attempts import begin
from flows.server.run_log import log_stages
from storage.artifact import Source
from storage.errors import DamagedError
from storage.files import encodable
from storage.runs import RunRecord, recorded
from storage.store import Store
from storage.video.remote_clips import check_copy, fetch
from tasks.decode import decode_video
from tasks.runtime.progress import report_event

REPAIRS = 8  # times that a run goes back to what was found damaged, before it gives up

Call = Callable[..., Any]
"""`call(stage, *arguments)`: gives what stands for the stage's artifact as an argument of others."""

ONE_AT_A_TIME: Any = ThreadPoolTaskRunner(max_workers=1)  # each stage wants the whole machine


@dataclass(frozen=True)
class Stages:
    """What `call` gave for every stage of an edit, in order, and for those whose result people want."""

    every: list[Any]
    video: Any
    measures: list[Any]  # one for each person
    report: Any


def edit_stages(
    call: Call,
    request: EditRequest,
    source: Source,
    output: Path,
    on_aligned: Callable[[list[Any], list[Any]], None] = lambda before, aligned: None,
) -> Stages:
    """Call every stage of one edit in order: the graph of the method, whoever walks it.

    Args:
        on_aligned: gets the stages before and those of `align`, one for each person, before any other is called. It may
            refuse what the faces are chosen by.
    """
    config, device, own = request.config(), request.device, request.own_directions()
    clip = call(decode_video, source, config.decode, config.shots)
    # All others take seconds to import (torch, SciPy): while the clip is decoded.
    from stitchedit.detect.finder import resolve_backend  # noqa: PLC0415
    from tasks import align, composite, detect, edit, encode, invert, measure, occlude, report, stitch, tune  # noqa: PLC0415

    searched = replace(config.detect, backend=resolve_backend(config.detect.backend))  # "auto" is no recipe
    detected = call(detect.detect_faces, source, clip, searched)
    targets, persons = request.targets(), []
    aligned = [
        call(align.align_faces, source, clip, detected, target.align, device, target.photo) for target in targets
    ]
    on_aligned([clip, detected], aligned)
    every = [clip, detected, *aligned]
    for target, faces in zip(targets, aligned, strict=True):
        occluded = call(occlude.find_occlusions, clip, faces, config.occlude, device)
        codes = call(invert.invert_faces, faces, occluded, config.invert, device)
        weights = call(tune.tune_weights, faces, occluded, codes, config.tune, device)
        edited = call(edit.edit_faces, clip, faces, codes, target.edit, own)
        stitched = call(stitch.stitch_faces, faces, codes, weights, edited, config.stitch, config.masks, device)
        pasted = replace(config.composite, mouth_colors=config.composite.mouth_colors and not target.edit.colors_lips)
        patches = call(composite.composite_faces, source, clip, faces, occluded, stitched, pasted, config.masks)
        persons.append((faces, occluded, codes, weights, patches))
        every += [occluded, codes, weights, edited, stitched, patches]
    every_face, *_, every_patch = zip(*persons, strict=True)
    video = call(encode.encode_video, source, clip, every_face, every_patch, config.encode, output.suffix)
    measures = [
        call(measure.measure_edit, source, clip, *made, target.edit, config.measure, device)
        for made, target in zip(persons, targets, strict=True)
    ]
    page = call(report.write_report, source, clip, every_face, every_patch, tuple(measures), video, request.titles())
    return Stages([*every, video, *measures, page], video, measures, page)


@flow(name="edit-video", persist_result=False, task_runner=ONE_AT_A_TIME)
def edit_video(request: EditRequest) -> Path:
    """Edit the faces of one clip. What is in the store already is not computed again."""
    begin()
    check_words(request)  # before gigabytes are brought
    if request.origin:
        check_copy(request.origin, request.video)
        fetch(request.origin, request.video)
    output, source, store = check_request(request), Source.of(request.video), request.open_store()
    words = request.model_dump(mode="json")
    with (
        log_stages(encodable(source.path.name)),
        recorded(store, str(source.path), source.digest, request.describe(), words, flow_run.id) as run,
    ):
        return _repaired(lambda: _run_and_export(store, run, request, source, output))


def _run_and_export(store: Store, run: RunRecord, request: EditRequest, source: Source, output: Path) -> Path:
    stages = _run_stages(store, run, request, source, output)
    report = stages.report.result()
    measures = [measured.result() for measured in stages.measures]
    target = destination(store, measures, output, request.hold)
    run.wrote(export_result(store, stages.video.result(), report, target))
    show_edit(encodable(f"{source.path.name}: {request.describe()}"), report, measures, target)
    return target


def _run_stages(store: Store, run: RunRecord, request: EditRequest, source: Source, output: Path) -> Stages:
    """All stages, done."""

    def refuse_one_person_twice(before: list[Any], aligned: list[Any]) -> None:
        """Wait for who was chosen before what takes hours is submitted: a stage in progress cannot be stopped."""
        if len(aligned) > 1:
            from tasks.inputs.persons import check_different  # noqa: PLC0415 - imported already, see `edit_stages`

            for stage in (*before, *aligned):
                run.reached(stage.result())
            check_different(store, request.chosen_faces(), [faces.result() for faces in aligned])

    stages = edit_stages(
        lambda stage, *arguments: stage.submit(store, *arguments), request, source, output, refuse_one_person_twice
    )
    for stage in stages.every:  # in order, so that the first error is the cause
        run.reached(stage.result())
    return stages


def _repaired(edit: Callable[[], Path]) -> Path:
    """What `edit` gives, called again after a stage found something damaged, which the store has dropped then."""
    for _ in range(REPAIRS):
        try:
            return edit()
        except DamagedError as error:
            if error.path is None:
                raise
            report_event("repair", "noted", text=f"{error} What is missing of it is computed now.")
    return edit()
