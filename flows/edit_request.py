"""What a caller asks for. Checked when it is submitted, so that a mistake is told before anything runs."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from configs.load import load_config
from configs.schema import RunConfig
from stitchedit.errors import InputError, UnknownNameError
from stitchedit.options.align import AlignOptions
from stitchedit.options.edit import EditOptions, describe
from stitchedit.persons import PHOTO, check_choice
from storage.artifact import Source
from storage.remote_clips import SCHEME
from storage.state_dict import load_tensors
from storage.store import Store, open_store
from storage.video import VideoInfo, probe
from storage.video_check import check_encoding
from storage.video_output import check_output, output_suffix
from tasks.pretrained import pretrained


class Edit(BaseModel):
    """One direction and how far to go along it."""

    model_config = ConfigDict(extra="forbid")

    direction: str = Field(examples=["smile"])
    strength: float = Field(examples=[2.5])

    @field_validator("strength")
    @classmethod
    def _is_finite(cls, strength: float) -> float:
        if not math.isfinite(strength):
            raise ValueError(f"strength must be a finite number, got {strength}")
        return strength


class FaceEdits(BaseModel):
    """One person of the clip and what becomes of the face."""

    model_config = ConfigDict(extra="forbid")

    face: str = Field(default="largest", examples=["left", "1", "anna.jpg"])  # see `align.face`, or a photo's path
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

    model_config = ConfigDict(extra="forbid")

    video: Path
    origin: str | None = None  # s3://bucket/key that `video` is a copy of; it is brought when it is not there or older
    edits: list[Edit] = []
    faces: list[FaceEdits] = []  # who is edited, all in one pass; whom `align.face` says unless given
    output: Path | None = None  # beside the clip and named for the edit, unless given
    store: Annotated[str, BeforeValidator(str)] = ".stitchedit"  # a folder, or s3://bucket/prefix
    scratch: Path | None = None  # where a bucket's files are kept on this machine; ~/.cache/stitchedit unless given
    preset: str = "default"
    options: list[str] = []  # stage.option=value
    start: float | None = None  # s
    end: float | None = None  # s
    device: str = "auto"  # or cpu, cuda, cuda:1
    hold: Path | None = None  # folder that a result judged `fail` goes to instead, for somebody to look at

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
        every = [edit for edits in (self.edits, *(face.edits for face in self.faces)) for edit in edits]
        edits = [f"edit.strengths.{name}={strength!r}" for name, strength in strengths(every).items()]
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
        faces = [(face.name, face.edits or self.edits) for face in self.faces] or [("face", self.edits)]
        lines = [f"{name}: {describe(strengths(edits)).replace('_', ', ')}" for name, edits in faces]
        return "\n".join([f"{', '.join(lines)} (preset {self.preset})", *lines])

    def open_store(self) -> Store:
        """Where artifacts are kept."""
        return open_store(self.store, self.scratch)

    def own_directions(self) -> Source | None:
        """The user's file of directions, if there is one: known by its bytes, wherever it lies."""
        path = self.config().edit.directions
        return Source.of(Path(path)) if path else None

    def output_path(self, info: VideoInfo) -> Path:
        """Where the result goes."""
        edited = f"{self.video.stem}_{self.describe()}{output_suffix(info)}"
        return self.output or self.video.with_name(edited)


def strengths(edits: Iterable[Edit]) -> dict[str, float]:
    """Strength of each direction; the same direction twice adds up."""
    total: dict[str, float] = {}
    for edit in edits:
        total[edit.direction] = total.get(edit.direction, 0.0) + edit.strength
    return total


def check_request(request: EditRequest) -> Path:
    """Where the result of `request` will go, after everything that can be checked in a second was.

    Raises:
        InputError: an unknown preset, option, direction or face, a value out of range, or a file that is not what it
            should be.
        VideoError: the clip cannot be read, or the output cannot be written.
    """
    check_words(request)
    Source.of(request.video)
    info = probe(request.video)
    output = request.output_path(info)
    check_output(request.video, output)
    check_encoding(request.video, info, output.suffix, request.config().encode)
    return output


def check_words(request: EditRequest) -> None:
    """Check all of `request` that can be checked without the clip.

    Raises:
        InputError: an unknown preset, option, direction or face, or a value out of range.
    """
    config = request.config()
    known = set(load_tensors(pretrained()["directions"].locate()))
    if config.edit.directions:
        from tasks.networks import own_directions  # noqa: PLC0415 - imports torch

        known |= set(own_directions(Path(config.edit.directions)))
    for name in config.edit.strengths:
        if name not in known:
            raise UnknownNameError("direction", name, known)
    for face in request.faces:
        if face.photo is None:
            check_choice(face.face)
        elif not face.photo.is_file():
            raise InputError(f"There is no photo {face.photo} for --face. Give its path, or a number or place.")
    if request.start is not None and request.end is not None and request.end <= request.start:
        raise InputError(f"The range ends ({request.end:g} s) before it starts ({request.start:g} s).")
