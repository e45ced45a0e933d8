"""From the store to where the user wants it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from stitchedit.quality import worst_of
from storage.artifact import Artifact, sync
from storage.errors import DamagedError
from storage.store import Store
from tasks.verdict import read_verdict


def destination(store: Store, measures: Sequence[Artifact], output: Path, hold: Path | None) -> Path:
    """`output`, or the same name in `hold` if some face's edit was judged `fail`."""
    for measured in measures:
        store.fetch(measured)
    verdict = worst_of(read_verdict(measured.path) for measured in measures)
    if hold is None or verdict.verdict != "fail":
        return output
    hold.mkdir(parents=True, exist_ok=True)
    return hold / output.name


def exported_files(output: Path) -> dict[str, Path]:
    """What an edit leaves beside its result, the result too."""
    return {
        "video": output,
        "preview": output.with_name(f"{output.stem}_preview.mp4"),
        "sheet": output.with_name(f"{output.stem}_sheet.png"),
        "report": output.with_name(f"{output.stem}_report.html"),
    }


def export_result(store: Store, video: Artifact, report: Artifact, output: Path) -> Path:
    """Copy video, preview, contact sheet and report to where `output` says. A file is there as a whole or not at all.

    Raises:
        DamagedError: a file in the store is not what was put there.
    """
    try:
        for artifact in (video, report):
            store.fetch(artifact)
    except DamagedError as error:
        if error.path is not None:
            store.report_damage(error.path)
        raise
    made = (video.path / f"video{output.suffix}", video.path / "preview.mp4", video.path / "sheet.png")
    targets = exported_files(output).values()
    for path, target in zip((*made, report.path / "report.html"), targets, strict=True):
        unfinished = target.with_name(f".{target.name}.part")
        try:
            shutil.copyfile(path, unfinished)
            sync(unfinished)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    return output
