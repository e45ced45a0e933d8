"""Arguments and options shared by several commands."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # it takes seconds
    from flows.edit_job import EditJob
    from flows.edit_request import Edit

StoreUrl = Annotated[
    str,
    typer.Option("--store", help="Store of artifacts: a folder, or s3://bucket/prefix.", envvar="STITCHEDIT_STORE"),
]
Scratch = Annotated[
    Path | None,
    typer.Option("--scratch", help="Local folder for files of an s3:// store.", envvar="STITCHEDIT_SCRATCH"),
]
ClipArgument = Annotated[Path, typer.Argument(help="Video file.")]
OptionArguments = Annotated[
    list[str] | None, typer.Argument(help="STAGE.OPTION=VALUE; `stitchedit options` lists them.")
]
Edits = Annotated[
    list[str] | None, typer.Option("--edit", help="NAME=STRENGTH; `stitchedit edits` lists them. Repeatable.")
]
FaceOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--face",
        help="Face to edit: a number (0 = the largest), largest, smallest, left, right, top, bottom, or the path of a "
        "photo. Repeatable. FACE:NAME=STRENGTH,... gives that face edits of its own.",
    ),
]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Path of the result. Default: beside the clip.")]
Preset = Annotated[str, typer.Option(help="Name of a file in configs/presets.")]
Start = Annotated[float | None, typer.Option(help="Start of the output in the clip, s.")]
End = Annotated[float | None, typer.Option(help="End of the output in the clip, s (exclusive).")]
DeviceName = Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:1 for the second GPU.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]

HERE = ".stitchedit"


def finite(value: float | None) -> float | None:
    """Refuse NaN and infinity, which `min` and `max` of an option let through."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


def edit_job(edits: list[str] | None, faces: list[str] | None, *, remember: bool = True, **fields: object) -> "EditJob":
    """Build the request from command-line arguments and resolve it.

    Raises:
        InputError: an unknown preset, option, direction or device, or a value out of range.
        VideoError: the clip cannot be read, or the output cannot be written.
    """
    from flows.edit_job import resolve  # noqa: PLC0415 - takes a second
    from flows.edit_request import EditRequest, FaceEdits  # noqa: PLC0415
    from flows.requests.checks import validated  # noqa: PLC0415

    shared = _edits(edits or [])
    named = [FaceEdits(face=face, edits=_edits(own)) for face, own in map(parse_face, faces or [])]
    if not all(face.edits or shared for face in named or [FaceEdits()]):
        raise typer.BadParameter("Give at least one, such as --edit smile=+2. `stitchedit edits` lists them.")
    if shared and named and all(face.edits for face in named):
        raise typer.BadParameter("--edit has no effect: every --face has edits of its own. Omit one of the two.")
    return resolve(validated(EditRequest, edits=shared, faces=named, **fields), remember=remember)


def parse_face(text: str) -> tuple[str, list[str]]:
    """Parse `left:smile=+2,age=-3` into (`left`, [`smile=+2`, `age=-3`]) and `left` into (`left`, [])."""
    face, colon, edits = text.rpartition(":")
    if colon and "=" in edits:
        return face, edits.split(",")
    return text, []


def _edits(texts: list[str]) -> "list[Edit]":
    from flows.edit_request import Edit  # noqa: PLC0415 - takes a second
    from stitchedit.options.edit import parse_edit  # noqa: PLC0415

    return [Edit(direction=name, strength=strength) for name, strength in map(parse_edit, texts)]
