"""Files that a run exports, and checks that they can be written without overwriting the user's."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from storage.errors import UnwritableOutputError
from storage.files import fitted_name
from storage.outputs import Outputs
from storage.store import Store
from storage.video.output import check_names


def exported_files(output: Path) -> dict[str, Path]:
    """Paths of the result and of preview, sheet and report beside it."""
    endings = {"preview": "_preview.mp4", "sheet": "_sheet.png", "report": "_report.html"}
    beside = {name: output.with_name(fitted_name(output.stem, ending)) for name, ending in endings.items()}
    return {"video": output, **beside}


def named_output(video: Path, edit: str, suffix: str) -> Path:
    """Default path of a result: beside the clip, named for the clip and the edit."""
    return video.with_name(fitted_name(f"{video.stem}_{edit}", suffix))


def check_output_files(store: Store, inputs: Sequence[Path], outputs: Iterable[Path]) -> None:
    """Refuse outputs that cannot be written or would overwrite a file of the user.

    Args:
        inputs: all files that the run reads; never overwritten, even if a run wrote them.
        outputs: paths of results; the files beside each are checked too.

    Raises:
        UnwritableOutputError: a file cannot be written; the message names it and the remedy.
    """
    files = [path for output in outputs for path in exported_files(output).values()]
    check_names(files)
    for path in files:
        for given in inputs:
            if path.exists() and given.exists() and path.samefile(given):
                raise UnwritableOutputError(
                    f"{path}: would be overwritten, but is an input of the run ({given}). Name another output with -o."
                )
    Outputs(store).check(files)
