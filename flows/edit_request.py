"""What a caller asks for. Checked when it is submitted, so that a mistake is told before anything runs."""

import math
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from configs.load import load_config
from configs.schema import RunConfig
from stitchedit.edit import describe
from stitchedit.errors import InputError, UnknownNameError
from storage.artifact import Source
from storage.state_dict import load_tensors
from storage.store import Store, open_store
from storage.video import VideoInfo, probe
from storage.video_output import check_output, output_suffix
from tasks.networks import own_directions
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


class EditRequest(BaseModel):
    """One clip, its edits and where the result goes."""

    model_config = ConfigDict(extra="forbid")

    video: Path
    edits: list[Edit] = Field(min_length=1)
    output: Path | None = None  # beside the clip and named for the edit, unless given
    store: Annotated[str, BeforeValidator(str)] = ".stitchedit"  # a folder, or s3://bucket/prefix
    scratch: Path | None = None  # where a bucket's files are kept on this machine; ~/.cache/stitchedit unless given
    preset: str = "default"
    options: list[str] = []  # stage.option=value
    start: float | None = None  # s
    end: float | None = None  # s
    device: str = "auto"  # or cpu, cuda, cuda:1

    def strengths(self) -> dict[str, float]:
        """Strength of each direction; the same direction twice adds up."""
        total: dict[str, float] = {}
        for edit in self.edits:
            total[edit.direction] = total.get(edit.direction, 0.0) + edit.strength
        return total

    def config(self) -> RunConfig:
        """Preset, options and the request's own fields as one checked configuration."""
        own = {"decode.start": self.start, "decode.end": self.end}
        fields = [f"{name}={value}" for name, value in own.items() if value is not None]
        edits = [f"edit.strengths.{name}={strength!r}" for name, strength in self.strengths().items()]
        return load_config(self.preset, [*self.options, *fields, *edits])

    def open_store(self) -> Store:
        """Where artifacts are kept."""
        return open_store(self.store, self.scratch)

    def own_directions(self) -> Source | None:
        """The user's file of directions, if there is one: known by its bytes, wherever it lies."""
        path = self.config().edit.directions
        return Source.of(Path(path)) if path else None

    def output_path(self, info: VideoInfo) -> Path:
        """Where the result goes."""
        edited = f"{self.video.stem}_{describe(self.strengths())}{output_suffix(info)}"
        return self.output or self.video.with_name(edited)


def check_request(request: EditRequest) -> Path:
    """Where the result of `request` will go, after everything that can be checked in a second was.

    Raises:
        InputError: an unknown preset, option or direction, a value out of range, or a file of directions that is none.
        VideoError: the clip cannot be read, or the output cannot be written.
    """
    config = request.config()
    known = set(load_tensors(pretrained()["directions"].locate()))
    if config.edit.directions:
        known |= set(own_directions(Path(config.edit.directions)))
    for name in config.edit.strengths:
        if name not in known:
            raise UnknownNameError("direction", name, known)
    if request.start is not None and request.end is not None and request.end <= request.start:
        raise InputError(f"The range ends ({request.end:g} s) before it starts ({request.start:g} s).")
    Source.of(request.video)
    output = request.output_path(probe(request.video))
    check_output(request.video, output)
    return output
