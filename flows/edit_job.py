"""Resolve a request once into the checked inputs of the stages, before anything is decoded.

`resolve` is the only place that checks a request: the command line, `plan`, each clip of a catalog and a submitted run
call it. Checks without the clip come first (`read_config`), then those that probe it.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from configs.load import load_config
from configs.schema import RunConfig
from flows.edit_request import EditRequest, FaceEdits, strengths
from flows.requests.checks import (
    check_clip,
    check_device,
    check_device_name,
    check_landmarks,
    check_photo,
    check_store,
    known_directions,
)
from flows.requests.output_files import check_output_files, named_output
from stitchedit.detect.persons import PHOTO, check_choice
from stitchedit.errors import InputError, UnknownNameError
from stitchedit.options.align import SIZES, AlignOptions
from stitchedit.options.edit import EditOptions
from storage.artifact import Source
from storage.source_digests import hash_source
from storage.store import Store, open_store
from storage.video.check import check_encoding
from storage.video.decode_options import check_limits
from storage.video.info import probe
from storage.video.length import check_reaches
from storage.video.output import check_folder, check_output, output_suffix


@dataclass(frozen=True)
class Target:
    """The options of the stages for one person."""

    align: AlignOptions
    photo: Source | None
    edit: EditOptions


@dataclass(frozen=True)
class EditJob:
    """A checked request with its files hashed, its options merged and its store opened."""

    request: EditRequest
    source: Source
    output: Path
    config: RunConfig
    targets: tuple[Target, ...]  # one per face, in the order of the request
    directions: Source | None  # the user's own file of directions
    store: Store

    def chosen_faces(self) -> list[str]:
        """The choice of each face, in the order of `targets`."""
        return [face.face for face in self.request.faces] or [self.config.align.face]


def resolve(request: EditRequest, config: RunConfig | None = None, *, remember: bool = True) -> EditJob:
    """Check `request` as far as possible before decoding, and resolve it.

    Args:
        config: result of `read_config`, if the caller has called it.
        remember: keep digests of sources in the store. False leaves the store untouched, as `plan` does.

    Raises:
        InputError: an unknown preset, option, direction, face or device, a value out of range, or a file of the wrong
            kind.
        VideoError: the clip cannot be read, or the output cannot be written.
    """
    config = config or read_config(request)
    check_device(request.device)
    check_landmarks(config.detect.backend)
    check_store(request.store, request.scratch)
    check_clip(request.video)
    info = probe(request.video)
    check_limits(request.video, info, config.decode)
    check_reaches(request.video, info, config.decode.start or 0)
    output = request.output or named_output(request.video, request.describe(), output_suffix(info))
    check_output(request.video, output)
    store = open_store(request.store, request.scratch)
    check_outputs(request, config, store, output)
    check_encoding(request.video, info, output.suffix, config.encode)

    def hashed(path: Path) -> Source:
        return hash_source(store.backend.objects, path, remember=remember)

    directions = hashed(Path(config.edit.directions)) if config.edit.directions else None
    photos = {face.photo: hashed(face.photo) for face in request.faces if face.photo}
    targets = _targets(request, config, photos)
    return EditJob(request, hashed(request.video), output, config, targets, directions, store)


def read_config(request: EditRequest) -> RunConfig:
    """Merge preset, options and edits; make the checks that need neither the clip nor this machine's devices.

    Raises:
        InputError: an unknown preset, option, direction or face, a value out of range, or a photo or file of
            directions that cannot be read.
    """
    config = _merged_config(request)
    unused = next((option for option in request.options if option.startswith("edit.strengths")), None)
    if unused is not None:
        raise InputError(f"Option {unused!r} has no effect: give edits by name, such as --edit smile=+2.")
    check_device_name(request.device)
    if config.invert.work_size not in SIZES:
        listed = ", ".join(map(str, SIZES))
        raise InputError(f"invert.work_size must be one of {listed} px, got {config.invert.work_size}.")
    known = known_directions(config.edit.directions)
    for name in config.edit.strengths:
        if name not in known:
            raise UnknownNameError("direction", name, known)
    _check_faces(request, config)
    return config


def check_outputs(request: EditRequest, config: RunConfig, store: Store, output: Path) -> None:
    """Refuse an output, or held output, that cannot be written or would overwrite a file of the user.

    Raises:
        UnwritableOutputError: a file cannot be written; the message names it and the remedy.
    """
    photos, directions = [face.photo for face in request.faces], config.edit.directions
    inputs = [request.video, *(photo for photo in photos if photo), *([Path(directions)] if directions else [])]
    held = [request.hold / output.name] if request.hold else []
    for path in held:
        check_folder(path.parent)
    check_output_files(store, inputs, [output, *held])


def hand_over(job: EditJob) -> EditRequest:
    """Attach `job` to its request, so that the flow called in this process need not resolve it again."""
    job.request._job = job
    return job.request


def take_over(request: EditRequest) -> EditJob | None:
    """Detach the job that `hand_over` attached, if any."""
    job, request._job = request._job, None
    return job if isinstance(job, EditJob) and job.request is request else None


def _merged_config(request: EditRequest) -> RunConfig:
    """Merge defaults, preset, options and the request's own fields; the edits of all faces together."""
    own = {"decode.start": request.start, "decode.end": request.end}
    fields = [f"{name}={value}" for name, value in own.items() if value is not None]
    largest: dict[str, float] = {}  # maximum over the faces: strengths of different persons do not add up
    for face in request.faces or [FaceEdits()]:
        for name, strength in strengths(face.edits or request.edits).items():
            largest[name] = max(strength, largest.get(name, strength), key=abs)
    edits = [f"edit.strengths.{name}={strength!r}" for name, strength in largest.items()]
    return load_config(request.preset, [*request.options, *fields, *edits])


def _targets(request: EditRequest, config: RunConfig, photos: dict[Path, Source]) -> tuple[Target, ...]:
    edit = replace(config.edit, directions=None)  # the key contains the digest of the file, not its path
    if not request.faces:
        return (Target(config.align, None, edit),)
    return tuple(
        Target(
            align=replace(config.align, face=PHOTO if face.photo else face.face),
            photo=photos[face.photo] if face.photo else None,
            edit=edit.only(strengths(face.edits or request.edits)),
        )
        for face in request.faces
    )


def _check_faces(request: EditRequest, config: RunConfig) -> None:
    named = [face.face for face in request.faces]
    repeated = next((name for name in named if named.count(name) > 1), None)
    if repeated is not None:
        count = named.count(repeated)
        raise InputError(f"--face {repeated} is given {count} times. Name each person once, with all edits.")
    if PHOTO in named or (not named and config.align.face == PHOTO):
        raise InputError("Face 'photo' needs the photo: give its path, as in --face anna.jpg.")
    for face in request.faces:
        if face.photo is None:
            check_choice(face.face)
        else:
            check_photo(face.photo)
