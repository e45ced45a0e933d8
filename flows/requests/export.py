"""Export the results of a run from the store to the requested path."""

from collections.abc import Sequence
from pathlib import Path

from flows.requests.output_files import exported_files
from stitchedit.measure.verdict import worst_of
from storage.artifact import Artifact
from storage.errors import DamagedError
from storage.outputs import OutputRecord, Outputs
from storage.store import Store
from tasks.reporting.verdict import read_verdict


def destination(store: Store, measures: Sequence[Artifact], output: Path, hold: Path | None) -> Path:
    """`output`, or the same name in `hold` if the verdict of any face is `fail`."""
    for measured in measures:
        store.fetch(measured)
    verdict = worst_of(read_verdict(measured.path) for measured in measures)
    if hold is None or verdict.verdict != "fail":
        return output
    hold.mkdir(parents=True, exist_ok=True)
    return hold / output.name


def export_result(store: Store, video: Artifact, report: Artifact, output: Path) -> list[OutputRecord]:
    """Copy video, preview, contact sheet and report to `output` and beside it; return the records, video first.

    Each file is written atomically, and only replaces files that an earlier run wrote.

    Raises:
        DamagedError: a file in the store differs from its recorded digest.
        UnwritableOutputError: a file that no run wrote appeared there during the run.
    """
    try:
        for artifact in (video, report):
            store.fetch(artifact)
    except DamagedError as error:
        if error.path is not None:
            store.report_damage(error.path)
        raise
    names = [(video, f"video{output.suffix}"), (video, "preview.mp4"), (video, "sheet.png"), (report, "report.html")]
    targets, outputs = exported_files(output).values(), Outputs(store)
    with outputs.writing(output):
        outputs.check(targets)
        return [
            outputs.put(artifact.path / name, target, store.manifest(artifact)["files"][name]["sha256"])
            for (artifact, name), target in zip(names, targets, strict=True)
        ]
