"""From the store to where the user wants it."""

import shutil
from pathlib import Path

from storage.artifact import Artifact, sync
from storage.errors import DamagedError
from storage.store import Store


def export_result(store: Store, video: Artifact, output: Path) -> Path:
    """Copy video, preview and contact sheet to `output` and beside it. A file is there as a whole or not at all.

    Raises:
        DamagedError: a file in the store is not what was put there.
    """
    try:
        store.fetch(video)
    except DamagedError as error:
        if error.path is not None:
            store.report_damage(error.path)
        raise
    copies = {
        f"video{output.suffix}": output,
        "preview.mp4": output.with_name(f"{output.stem}_preview.mp4"),
        "sheet.png": output.with_name(f"{output.stem}_sheet.png"),
    }
    for name, target in copies.items():
        unfinished = target.with_name(f".{target.name}.part")
        try:
            shutil.copyfile(video.path / name, unfinished)
            sync(unfinished)
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    return output
