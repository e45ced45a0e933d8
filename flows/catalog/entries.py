"""What a catalog says. Its JSON Schema, for editors, is what `stitchedit schema` prints."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints, field_validator

from flows.catalog.output_names import fill_template
from flows.edit_request import DIRECTION, Edit, EditRequest, FaceEdits
from stitchedit.options.edit import describe

AHEAD = timedelta(hours=14)  # of UTC, where a day begins first
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
DirectionName = Annotated[str, Field(pattern=DIRECTION)]
Strengths = Annotated[dict[DirectionName, Annotated[float, Strict()]], Field(examples=[{"smile": 2, "age": -3}])]
MOST = 10**9  # of a priority, either way


def _no_truth(value: object) -> object:
    """Refuse `true`, which Python takes as 1."""
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")  # noqa: TRY004 - pydantic takes ValueError
    return value


Seconds = Annotated[float, BeforeValidator(_no_truth)]
Priority = Annotated[int, BeforeValidator(_no_truth), Field(ge=-MOST, le=MOST)]


class Consent(BaseModel):
    """Who agreed to be edited, when, and where that is written down."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    by: Words = Field(examples=["Anna Example"])
    on: date
    reference: Words = Field(examples=["release-2026-017.pdf"])

    @field_validator("on")
    @classmethod
    def _is_given(cls, on: date) -> date:
        if on > (datetime.now(UTC) + AHEAD).date():
            raise ValueError(f"{on} has not come yet: a consent is recorded when it is given")
        return on


class EntryDefaults(BaseModel):
    """What is done with a clip."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    edits: Strengths = {}
    faces: dict[str, Strengths] = Field(default={}, examples=[{"left": {"smile": 2}, "anna.jpg": {}}])
    preset: str = "default"
    options: list[str] = Field(default=[], examples=[["align.size=512", "measure.ring_fail=8"]])
    ramps: dict[DirectionName, str] = Field(default={}, examples=[{"smile": "0:0,2:1"}])
    start: Seconds | None = Field(default=None, description="s")
    end: Seconds | None = Field(default=None, description="s")
    output: str = Field(
        default="{stem}_{edit}{suffix}",
        description="Where the result goes, from the catalog's folder: {stem} and {suffix} are the clip's, {edit} says "
        "what was done, {folder} is where the clip lies.",
    )
    priority: Priority = Field(default=0, description="Higher ones first; of equal ones, the cheaper.")
    tags: list[str] = []
    consent: Consent | None = None

    @field_validator("edits", "faces", mode="before")
    @classmethod
    def _is_mapping(cls, value: Any) -> Any:
        return {} if value is None else value


class CatalogEntry(EntryDefaults):
    """One clip, or all that a pattern finds."""

    source: str = Field(min_length=1, examples=["clips/interview.mp4", "clips/*.mov", "s3://bucket/clips/*.mp4"])


class Catalog(BaseModel):
    """Clips and what is done with each. `defaults` holds for every clip that does not say otherwise."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, title="stitchedit catalog")

    catalog: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Its name.", examples=["nightly"])
    consent_required: bool = Field(
        default=True, description="false: this catalog may be edited without a consent record for every clip."
    )
    allow_outputs: list[str] = Field(
        default=[],
        description="Folders that results may go to besides the catalog's own and those inside of it.",
        examples=[["/results"]],
    )
    defaults: EntryDefaults = EntryDefaults()
    clips: list[CatalogEntry]


def request_of(entry: CatalogEntry, source: Path, folder: Path, suffix: str, origin: str | None = None) -> EditRequest:
    """The request for one clip of an entry; without a store, which the run says.

    Args:
        folder: the catalog's; relative paths start there.
        suffix: of the result, with its dot.
        origin: address that `source` is a copy of, if it is one.
    """
    edits = _edits(entry.edits)
    faces = [FaceEdits(face=_photo(who, folder), edits=_edits(own)) for who, own in entry.faces.items()]
    options = [*entry.options, *(f"edit.ramps.{name}={words!r}" for name, words in entry.ramps.items())]
    named = EditRequest(
        video=source, origin=origin, edits=edits, faces=faces, preset=entry.preset, options=options,
        start=entry.start, end=entry.end,
    )  # fmt: skip
    words = {"stem": source.stem, "suffix": suffix, "edit": named.describe() or describe({}), "folder": source.parent}
    return named.model_copy(update={"output": folder / fill_template(entry.output, words)})


def _edits(strengths: dict[str, float]) -> list[Edit]:
    return [Edit(direction=name, strength=strength) for name, strength in strengths.items()]


def _photo(who: str, folder: Path) -> str:
    """A photo's path from the catalog's folder; any other choice as it is."""
    return str(folder / who) if Path(who).suffix else who
