"""What a caller asks for. Checked when it is submitted, so that a mistake is told before anything runs."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from configs.load import load_config
from configs.schema import RunConfig
from flows.requests.any_text import AnyPath, AnyText
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
from stitchedit.options.edit import EditOptions, describe
from storage.artifact import Source
from storage.errors import StoreAddressError
from storage.files import encodable
from storage.safe_text import printable
from storage.store import Store, check_address, open_store
from storage.video.check import check_encoding
from storage.video.decode_options import check_limits
from storage.video.info import VideoInfo, probe
from storage.video.length import check_reaches
from storage.video.output import check_folder, check_output, output_suffix
from storage.video.remote_clips import SCHEME

DIRECTION = r"^[\w-]+$"  # how one may be called


class Edit(BaseModel):
    """One direction and how far to go along it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    direction: str = Field(pattern=DIRECTION, examples=["smile"])
    strength: float = Field(strict=True, examples=[2.5])


class FaceEdits(BaseModel):
    """One person of the clip and what becomes of the face."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    face: AnyText = Field(default="largest", examples=["left", "1", "anna.jpg"])  # see `align.face`, or a photo's path
    edits: list[Edit] = []  # the request's own unless given

    @property
    def photo(self) -> Path | None:
        """The photo that shows who it is, if one does."""
        return Path(self.face) if Path(self.face).suffix else None

    @property
    def name(self) -> str:
        """As part of a file name."""
        return self.photo.stem if self.photo else self.face


@dataclass(frozen=True)
class Target:
    """One person to be edited, as the stages take it."""

    align: AlignOptions
    photo: Source | None
    edit: EditOptions


class EditRequest(BaseModel):
    """One clip, its edits and where the result goes."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    video: AnyPath
    origin: AnyText | None = None  # s3://bucket/key that `video` is a copy of; brought when it is not there or older
    edits: list[Edit] = []
    faces: list[FaceEdits] = []  # who is edited, all in one pass; whom `align.face` says unless given
    output: AnyPath | None = None  # beside the clip and named for the edit, unless given
    store: Annotated[AnyText, BeforeValidator(str)] = ".stitchedit"  # a folder, or s3://bucket/prefix
    scratch: AnyPath | None = None  # where a bucket's files are kept on this machine; ~/.cache/stitchedit unless given
    preset: str = "default"
    options: list[AnyText] = []  # stage.option=value
    start: float | None = None  # s
    end: float | None = None  # s
    device: str = "auto"  # or cpu, cuda, cuda:1
    hold: AnyPath | None = None  # folder that a result judged `fail` goes to instead, for somebody to look at

    @field_validator("store")
    @classmethod
    def _is_a_place(cls, store: str) -> str:
        try:
            check_address(store)
        except StoreAddressError as error:
            raise ValueError(str(error)) from error
        return store

    @field_validator("origin")
    @classmethod
    def _is_in_a_bucket(cls, origin: str | None) -> str | None:
        if origin is not None and not origin.startswith(SCHEME):
            raise ValueError(f"origin must be an address like s3://bucket/key, got {origin!r}")
        return origin

    @model_validator(mode="after")
    def _edits_every_face(self) -> Self:
        if not all(face.edits or self.edits for face in self.faces or [FaceEdits()]):
            raise ValueError("there is no edit: give at least one, such as smile=+2")
        return self

    def config(self) -> RunConfig:
        """Preset, options and the request's own fields as one checked configuration, with the edits of all faces."""
        own = {"decode.start": self.start, "decode.end": self.end}
        fields = [f"{name}={value}" for name, value in own.items() if value is not None]
        largest: dict[str, float] = {}  # of anybody: two persons' smiles are no stronger than each of them
        for face in self.faces or [FaceEdits()]:
            for name, strength in strengths(face.edits or self.edits).items():
                largest[name] = max(strength, largest.get(name, strength), key=abs)
        edits = [f"edit.strengths.{name}={strength!r}" for name, strength in largest.items()]
        return load_config(self.preset, [*self.options, *fields, *edits])

    def targets(self) -> list[Target]:
        """Everybody who is edited, in the order of the request."""
        config = self.config()
        edit = replace(config.edit, directions=None)  # of no key by its path: `own_directions` is, by its bytes
        if not self.faces:
            return [Target(config.align, None, edit)]
        return [
            Target(
                align=replace(config.align, face=PHOTO if face.photo else face.face),
                photo=Source.of(face.photo) if face.photo else None,
                edit=edit.only(strengths(face.edits or self.edits)),
            )
            for face in self.faces
        ]

    def chosen_faces(self) -> list[str]:
        """How each face was chosen, in the order of `targets`."""
        return [face.face for face in self.faces] or [self.config().align.face]

    def describe(self) -> str:
        """`smile+2`, or `left-smile+2_anna-age-3`: the edit as part of a file name."""
        named = [f"{face.name}-{describe(strengths(face.edits or self.edits))}" for face in self.faces]
        return "_".join(named) or describe(strengths(self.edits))

    def titles(self) -> str:
        """A line for the edit as a whole, then one for each face, for people to read."""
        faces = [(printable(face.name), face.edits or self.edits) for face in self.faces] or [("face", self.edits)]
        lines = [f"{name}: {describe(strengths(edits)).replace('_', ', ')}" for name, edits in faces]
        return encodable("\n".join([f"{', '.join(lines)} (preset {self.preset})", *lines]))

    def open_store(self) -> Store:
        """Where artifacts are kept."""
        return open_store(self.store, self.scratch)

    def own_directions(self) -> Source | None:
        """The user's file of directions, if there is one: known by its bytes, wherever it lies."""
        path = self.config().edit.directions
        return Source.of(Path(path)) if path else None

    def output_path(self, info: VideoInfo) -> Path:
        """Where the result goes."""
        return self.output or named_output(self.video, self.describe(), output_suffix(info))

    def check_outputs(self, output: Path) -> None:
        """Refuse an `output`, or the held one, of which a file would be lost or cannot be written.

        Raises:
            UnwritableOutputError: which file it is, and the way out.
        """
        photos, directions = [face.photo for face in self.faces], self.config().edit.directions
        read = [self.video, *(photo for photo in photos if photo), *([Path(directions)] if directions else [])]
        held = [self.hold / output.name] if self.hold else []
        for place in held:
            check_folder(place.parent)
        check_output_files(self.open_store(), read, [output, *held])


def strengths(edits: Iterable[Edit]) -> dict[str, float]:
    """Strength of each direction; the same direction twice adds up."""
    total: dict[str, float] = {}
    for edit in edits:
        total[edit.direction] = total.get(edit.direction, 0.0) + edit.strength
    return total


def check_request(request: EditRequest) -> Path:
    """Where the result of `request` will go, after everything was checked that can be known before decoding.

    The one place for it: `edit`, `plan`, each clip of a catalog, and a run that was submitted come here first. What
    needs no clip is checked first, then what needs a look at it.

    Raises:
        InputError: an unknown preset, option, direction, face or device, a value out of range, or a file that is not
            what it should be.
        VideoError: the clip cannot be read, or the output cannot be written.
    """
    check_words(request)
    check_device(request.device)
    check_landmarks(request.config().detect.backend)
    check_store(request.store, request.scratch)
    check_clip(request.video)
    info = probe(request.video)
    check_limits(request.video, info, request.config().decode)
    check_reaches(request.video, info, request.config().decode.start or 0)
    output = request.output_path(info)
    check_output(request.video, output)
    request.check_outputs(output)
    check_encoding(request.video, info, output.suffix, request.config().encode)
    return output


def check_words(request: EditRequest) -> None:
    """Check all of `request` that can be checked without the clip, on any machine.

    Raises:
        InputError: an unknown preset, option, direction or face, a value out of range, or a photo or file of
            directions that is none.
    """
    config = request.config()
    unused = next((option for option in request.options if option.startswith("edit.strengths")), None)
    if unused is not None:
        raise InputError(f"Option {unused!r} is of no use: edits are given by name, as --edit smile=+2.")
    check_device_name(request.device)
    if config.invert.work_size not in SIZES:
        listed = ", ".join(map(str, SIZES))
        raise InputError(f"invert.work_size must be one of {listed} px, got {config.invert.work_size}.")
    known = known_directions(config.edit.directions)
    for name in config.edit.strengths:
        if name not in known:
            raise UnknownNameError("direction", name, known)
    _check_faces(request, config)


def _check_faces(request: EditRequest, config: RunConfig) -> None:
    named = [face.face for face in request.faces]
    twice = next((name for name in named if named.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"--face {twice} is given {named.count(twice)} times. Name each person once, with all edits.")
    if PHOTO in named or (not named and config.align.face == PHOTO):
        raise InputError("Face 'photo' needs the photo: give its path, as in --face anna.jpg.")
    for face in request.faces:
        if face.photo is None:
            check_choice(face.face)
        else:
            check_photo(face.photo)
