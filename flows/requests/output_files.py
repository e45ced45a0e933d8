"""Which files a run writes for people, and whether all of them can be written and overwrite nothing of theirs."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from storage.errors import UnwritableOutputError
from storage.files import fitted_name
from storage.outputs import Outputs
from storage.store import Store
from storage.video.output import check_names


def exported_files(output: Path) -> dict[str, Path]:
    """What an edit leaves beside its result, the result too."""
    endings = {"preview": "_preview.mp4", "sheet": "_sheet.png", "report": "_report.html"}
    beside = {name: output.with_name(fitted_name(output.stem, ending)) for name, ending in endings.items()}
    return {"video": output, **beside}


def named_output(video: Path, edit: str, suffix: str) -> Path:
    """Where a result goes that nobody named: beside the clip, by its name and the edit."""
    return video.with_name(fitted_name(f"{video.stem}_{edit}", suffix))


def check_output_files(store: Store, inputs: Sequence[Path], outputs: Iterable[Path]) -> None:
    """Refuse outputs of which a file cannot be written, or would overwrite something of the user's.

    Args:
        inputs: the clip and whatever else is read; never overwritten, even if a run wrote them.
        outputs: results; what belongs to each is written too.

    Raises:
        UnwritableOutputError: which file it is, and the way out.
    """
    files = [path for output in outputs for path in exported_files(output).values()]
    check_names(files)
    for path in files:
        for given in inputs:
            if path.exists() and given.exists() and path.samefile(given):
                raise UnwritableOutputError(
                    f"{path}: would be overwritten, and is what the run reads ({given}). Name another output with -o."
                )
    Outputs(store).check(files)
