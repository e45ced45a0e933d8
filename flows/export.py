"""From the store to where the user wants it."""

import shutil
from pathlib import Path

from storage.artifact import Artifact, sync


def export_result(video: Artifact, output: Path) -> Path:
    """Copy video, preview and contact sheet to `output` and beside it. A file is there as a whole or not at all."""
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
