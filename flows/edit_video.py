"""The method, top to bottom: read this first."""

from dataclasses import replace
from pathlib import Path

from prefect import flow

from flows.edit_request import EditRequest, check_request
from flows.export import export_result
from stitchedit.landmarks import resolve_backend
from storage.artifact import Artifact, Source
from storage.store import Store
from tasks.align import align_faces
from tasks.composite import composite_faces
from tasks.decode import decode_video
from tasks.edit import edit_faces
from tasks.encode import encode_video
from tasks.invert import invert_faces
from tasks.stitch import stitch_faces
from tasks.tune import tune_weights


@flow(name="edit-video", persist_result=False)
def edit_video(request: EditRequest) -> Path:
    """Edit the faces of one clip. What is in the store already is not computed again."""
    output, config = check_request(request), request.config()
    landmarks = replace(config.landmarks, backend=resolve_backend(config.landmarks.backend))  # "auto" is no recipe
    source, store, device = Source.of(request.video), Store(request.store), request.device

    clip = decode_video.submit(store, source, config.decode, config.shots)
    faces = align_faces.submit(store, source, clip, landmarks, config.tracks, config.align, device)
    codes = invert_faces.submit(store, faces, config.invert, device)
    weights = tune_weights.submit(store, faces, codes, config.tune, device)
    edited = edit_faces.submit(store, codes, replace(config.edit, directions=None), request.own_directions())
    stitched = stitch_faces.submit(store, faces, codes, weights, edited, config.stitch, config.masks, device)
    patches = composite_faces.submit(store, source, clip, faces, stitched, config.composite, config.masks)
    video = encode_video.submit(store, source, clip, faces, patches, config.encode, output.suffix)

    stages = (clip, faces, codes, weights, edited, stitched, patches, video)
    results: list[Artifact] = [stage.result() for stage in stages]  # in order, so that the first error is the cause
    return export_result(results[-1], output)
