"""From the store to where the user wants it."""

import shutil
from pathlib import Path

from storage.artifact import Artifact, sync
from storage.errors import DamagedError
from storage.store import Store


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
    copies = {
        video.path / f"video{output.suffix}": output,
        video.path / "preview.mp4": output.with_name(f"{output.stem}_preview.mp4"),
        video.path / "sheet.png": output.with_name(f"{output.stem}_sheet.png"),
        report.path / "report.html": output.with_name(f"{output.stem}_report.html"),
    }
    for path, target in copies.items():
        unfinished = target.with_name(f".{target.name}.part")
        try:
            shutil.copyfile(path, unfinished)
            sync(unfinished)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    return output
