"""The request of an edit, as a caller writes it. `flows.edit_job` resolves it into the inputs of the stages."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from flows.requests.any_text import AnyPath, AnyText
from stitchedit.options.edit import describe
from storage.errors import StoreAddressError
from storage.files import encodable
from storage.safe_text import printable
from storage.store import check_address
from storage.video.remote_clips import SCHEME

DIRECTION = r"^[\w-]+$"  # pattern of direction names


class Edit(BaseModel):
    """One direction and its strength."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    direction: str = Field(pattern=DIRECTION, examples=["smile"])
    strength: float = Field(strict=True, examples=[2.5])


class FaceEdits(BaseModel):
    """One person in the clip and the edits of the face."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    face: AnyText = Field(default="largest", examples=["left", "1", "anna.jpg"])  # see `align.face`, or a photo's path
    edits: list[Edit] = []  # the request's edits if empty

    @property
    def photo(self) -> Path | None:
        """The photo of the person, if `face` is a path."""
        return Path(self.face) if Path(self.face).suffix else None

    @property
    def name(self) -> str:
        """The face as part of a file name."""
        return self.photo.stem if self.photo else self.face


class EditRequest(BaseModel):
    """One clip, its edits and the path of the result."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    video: AnyPath
    origin: AnyText | None = None  # s3://bucket/key that `video` is a copy of; downloaded if missing or outdated
    edits: list[Edit] = []
    faces: list[FaceEdits] = []  # persons to edit, in one pass; the choice of `align.face` if empty
    output: AnyPath | None = None  # default: beside the clip, named for the edit
    store: Annotated[AnyText, BeforeValidator(str)] = ".stitchedit"  # a folder, or s3://bucket/prefix
    scratch: AnyPath | None = None  # local folder for files of a bucket; default: ~/.cache/stitchedit
    preset: str = "default"
    options: list[AnyText] = []  # stage.option=value
    start: float | None = None  # s
    end: float | None = None  # s
    device: str = "auto"  # or cpu, cuda, cuda:1
    hold: AnyPath | None = None  # folder for a result with the verdict `fail`, instead of `output`

    _job: Any = PrivateAttr(default=None)  # see `flows.edit_job.hand_over`

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

    def describe(self) -> str:
        """`smile+2`, or `left-smile+2_anna-age-3`: the edit as part of a file name."""
        named = [f"{face.name}-{describe(strengths(face.edits or self.edits))}" for face in self.faces]
        return "_".join(named) or describe(strengths(self.edits))

    def titles(self) -> str:
        """A line for the edit as a whole, then one for each face, for people to read."""
        faces = [(printable(face.name), face.edits or self.edits) for face in self.faces] or [("face", self.edits)]
        lines = [f"{name}: {describe(strengths(edits)).replace('_', ', ')}" for name, edits in faces]
        return encodable("\n".join([f"{', '.join(lines)} (preset {self.preset})", *lines]))


def strengths(edits: Iterable[Edit]) -> dict[str, float]:
    """Strength of each direction; strengths of a repeated direction add up."""
    total: dict[str, float] = {}
    for edit in edits:
        total[edit.direction] = total.get(edit.direction, 0.0) + edit.strength
    return total
