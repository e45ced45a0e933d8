"""The schema of a catalog; `stitchedit schema` prints it as JSON Schema."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints, field_validator

from flows.catalog.output_names import fill_template
from flows.edit_request import DIRECTION, Edit, EditRequest, FaceEdits
from stitchedit.options.edit import describe

MAX_UTC_OFFSET = timedelta(hours=14)  # of the first time zone to begin a day
NonEmptyText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
DirectionName = Annotated[str, Field(pattern=DIRECTION)]
Strengths = Annotated[dict[DirectionName, Annotated[float, Strict()]], Field(examples=[{"smile": 2, "age": -3}])]
MAX_PRIORITY = 10**9  # in magnitude


def _not_boolean(value: object) -> object:
    """Refuse `true` and `false`, which Python takes as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("true and false are not numbers")  # noqa: TRY004 - pydantic takes ValueError
    return value


Seconds = Annotated[float, BeforeValidator(_not_boolean)]
Priority = Annotated[int, BeforeValidator(_not_boolean), Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)]


class Consent(BaseModel):
    """Consent of a person to be edited: name, date and reference to the document."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    by: NonEmptyText = Field(examples=["Anna Example"])
    on: date
    reference: NonEmptyText = Field(examples=["release-2026-017.pdf"])

    @field_validator("on")
    @classmethod
    def _is_given(cls, on: date) -> date:
        if on > (datetime.now(UTC) + MAX_UTC_OFFSET).date():
            raise ValueError(f"{on} is in the future: give the date on which consent was given")
        return on


class EntryDefaults(BaseModel):
    """Edits and options of a clip."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    edits: Strengths = {}
    faces: dict[str, Strengths] = Field(default={}, examples=[{"left": {"smile": 2}, "anna.jpg": {}}])
    preset: str = "default"
    options: list[str] = Field(default=[], examples=[["align.size=512", "measure.ring_fail=8"]])
    ramps: dict[DirectionName, str] = Field(default={}, examples=[{"smile": "0:0,2:1"}])
    start: Seconds | None = Field(default=None, description="Start of the result in the clip, s.")
    end: Seconds | None = Field(default=None, description="End of the result in the clip, s.")
    output: str = Field(
        default="{stem}_{edit}{suffix}",
        description="Path of the result, relative to the catalog's folder: {stem} and {suffix} are the clip's, {edit} "
        "names the edits, {folder} is the clip's folder.",
    )
    priority: Priority = Field(default=0, description="Higher first; among equals, the cheaper clip.")
    tags: list[str] = []
    consent: Consent | None = None

    @field_validator("edits", "faces", mode="before")
    @classmethod
    def _is_mapping(cls, value: Any) -> Any:
        return {} if value is None else value


class CatalogEntry(EntryDefaults):
    """One clip, or all clips that a pattern matches."""

    source: str = Field(min_length=1, examples=["clips/interview.mp4", "clips/*.mov", "s3://bucket/clips/*.mp4"])


class Catalog(BaseModel):
    """Clips with their edits. A clip takes fields that it does not set from `defaults`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, title="stitchedit catalog")

    catalog: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Its name.", examples=["nightly"])
    consent_required: bool = Field(default=True, description="false: clips of this catalog need no consent record.")
    allow_outputs: list[str] = Field(
        default=[],
        description="Folders that results may be written to, besides the catalog's own folder and those inside it.",
        examples=[["/results"]],
    )
    defaults: EntryDefaults = EntryDefaults()
    clips: list[CatalogEntry]


def request_of(entry: CatalogEntry, source: Path, folder: Path, suffix: str, origin: str | None = None) -> EditRequest:
    """The request for one clip of an entry. The caller adds the store.

    Args:
        folder: the catalog's folder; relative paths start there.
        suffix: of the result, with its dot.
        origin: s3:// address that `source` is a copy of, if any.
    """
    edits = _edits(entry.edits)
    faces = [FaceEdits(face=_photo(face, folder), edits=_edits(own)) for face, own in entry.faces.items()]
    options = [*entry.options, *(f"edit.ramps.{name}={ramp!r}" for name, ramp in entry.ramps.items())]
    named = EditRequest(
        video=source, origin=origin, edits=edits, faces=faces, preset=entry.preset, options=options,
        start=entry.start, end=entry.end,
    )  # fmt: skip
    fields = {"stem": source.stem, "suffix": suffix, "edit": named.describe() or describe({}), "folder": source.parent}
    return named.model_copy(update={"output": folder / fill_template(entry.output, fields)})


def _edits(strengths: dict[str, float]) -> list[Edit]:
    return [Edit(direction=name, strength=strength) for name, strength in strengths.items()]


def _photo(face: str, folder: Path) -> str:
    """A photo's path from the catalog's folder; any other choice unchanged."""
    return str(folder / face) if Path(face).suffix else face
