"""A table of scores on disk: one row per sample, written as it is made, so that an interrupted run resumes."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from stitchedit.errors import InputError


def complete_scores(
    path: Path,
    samples: Iterable[int],
    names: list[str],
    score: Callable[[int], dict[str, float]],
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, np.ndarray]:
    """Scores of `samples`, in their order, NaN where there is none. Rows that are in the CSV are not computed again.

    Args:
        score: a sample to its scores; empty where there is no face.
    """
    wanted = list(samples)
    done = load_scores(path, names)
    with path.open("a", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        if file.tell() == 0:
            table.writerow(["sample", *names])
        elif not path.read_text().endswith("\n"):
            file.write("\n")
        for count, sample in enumerate(wanted, 1):
            if sample not in done:
                scores = score(sample)
                done[sample] = np.array([scores.get(name, np.nan) for name in names])
                table.writerow([sample, *(f"{value:.6g}" for value in done[sample])])
                file.flush()
            on_step(count, len(wanted))
    rows = np.stack([done[sample] for sample in wanted])
    return dict(zip(names, rows.T, strict=True))


def load_scores(path: Path, names: list[str]) -> dict[int, np.ndarray]:
    """Rows of the table by sample; a last one that was cut off is left out.

    Raises:
        InputError: the table has other columns.
    """
    if not path.exists():
        return {}
    lines = path.read_text().splitlines(keepends=True)
    rows = list(csv.reader(line for line in lines if line.endswith("\n")))
    if rows and rows[0] != ["sample", *names]:
        raise InputError(f"{path} has columns {', '.join(rows[0])}, not sample, {', '.join(names)}. Delete it.")
    return {int(row[0]): np.array(row[1:], dtype=float) for row in rows[1:] if len(row) == 1 + len(names)}
