"""Progress of a training: rows of a CSV, curves in a PNG, a bar in the terminal."""

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingLog:
    """Means of the reported numbers, a row every `every` steps, in `path`; the curves beside it, as `.png`.

    Rows of a run that is continued follow those that are there; what an interrupted run wrote after its last
    checkpoint is written again and taken instead.
    """

    def __init__(self, path: Path, every: int = 25) -> None:
        self.path, self.every = path, every
        self._seen: list[Mapping[str, float]] = []

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Take the losses of one step."""
        self._seen.append(values)
        if step % self.every == 0:
            names = sorted({name for seen in self._seen for name in seen})
            self.write(step, {name: _mean(name, self._seen) for name in names})
            self._seen.clear()

    @contextmanager
    def shown(self, name: str, steps: int) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
        """A bar; what the block gets is to be called with the losses of every step."""
        with bar() as progress:
            task = progress.add_task(name, total=steps)

            def on_step(step: int, losses: Mapping[str, float]) -> None:
                self(step, losses)
                progress.update(task, completed=step)

            yield on_step

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One row for each of `values`, as they are."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerows([step, name, f"{value:.6g}"] for name, value in values.items())

    def curves(self) -> dict[str, dict[int, float]]:
        """Written numbers: name to step to value."""
        found: dict[str, dict[int, float]] = {}
        if self.path.exists():
            with self.path.open(newline="") as file:
                for step, name, value in csv.reader(file):
                    found.setdefault(name, {})[int(step)] = float(value)
        return found

    def plot(self) -> Path:
        """Draw all curves, one below the other, and say where."""
        from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

        curves = self.curves()
        figure = Figure(figsize=(8, 1.8 * max(1, len(curves))), layout="constrained")
        for index, (name, points) in enumerate(sorted(curves.items())):
            axes = figure.add_subplot(len(curves), 1, index + 1)
            steps = sorted(points)
            axes.plot(steps, [points[step] for step in steps], linewidth=1)
            axes.set_ylabel(name)
            axes.grid(alpha=0.3)
        image = self.path.with_suffix(".png")
        figure.savefig(image, dpi=100)
        return image


def bar() -> Progress:
    """A bar that says how many and how long."""
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def _mean(name: str, seen: list[Mapping[str, float]]) -> float:
    values = [row[name] for row in seen if name in row]
    return sum(values) / len(values)
