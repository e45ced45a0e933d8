"""The display of a run on the command line: a progress bar per stage, then a table."""

import logging
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from flows.cli.terminal import escape, plain
from flows.requests.any_text import to_json
from tasks.runtime.stage_names import STAGES


@dataclass
class StageResult:
    """The result of one stage."""

    how: str = "not reached"  # cached, ran, resumed or failed
    seconds: float = 0.0
    done: int = 0
    unit: str = ""
    key: str = ""
    quality: dict[str, float] = field(default_factory=dict)  # e.g. psnr_db
    notes: list[str] = field(default_factory=list)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {task.fields['unit']}/s" if speed else "", style="cyan")


class RunDisplay(logging.Handler):
    """A log handler that shows records of `stitchedit.progress` as bars and collects them for the table."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self.results = {stage: StageResult() for stage in STAGES}
        self._open: dict[str, str] = {}  # stage -> name of its current row
        self.began = time.monotonic()
        self.first_stage: float | None = None  # s after `began`: the start time of Prefect
        columns = (
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=console)
        self._bars: dict[str, Any] = {}

    def __enter__(self) -> "RunDisplay":
        logger = logging.getLogger("stitchedit.progress")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(self)
        self._progress.start()
        self.console.print("[dim]starting Prefect …[/dim]")
        return self

    def __exit__(self, *unused: object) -> None:
        self._progress.stop()
        logging.getLogger("stitchedit.progress").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        stage, event, facts = (getattr(record, name) for name in ("stage", "event", "facts"))
        if self.first_stage is None:
            self.first_stage = time.monotonic() - self.began
        if event in {"started", "cached"}:
            self._open_row(stage, facts["key"])
        result = self._row(stage)
        if event == "started":
            result.how = "resumed" if facts["resumed"] else "ran"
        elif event == "advanced":
            result.done, result.unit = facts["total"], facts["unit"]
            self._advance(**facts)
        elif event == "finished":
            result.seconds, result.key = facts["seconds"], facts["key"]
            self.console.print(f"{stage:<28} {result.how} in {result.seconds:.1f} s")
        elif event == "cached":
            result.how, result.key = "cached", facts["key"]
            self.console.print(f"{stage:<28} [green]cached[/green]")
        elif event == "failed":
            result.how = "failed"
        elif event == "measured":
            result.quality = facts
        elif event == "noted":
            result.notes.append(facts["text"])
            self.console.print(f"[yellow]{stage}: {escape(facts['text'])}[/yellow]")

    def _open_row(self, stage: str, key: str) -> None:
        """Select the row of an artifact: the stage's first row, or a new one for another face."""
        rows = [name for name in self.results if name.partition(" ")[0] == stage]
        known = [name for name in rows if self.results[name].key in {"", key}]
        name = known[0] if known else f"{stage} {len(rows) + 1}"
        self.results.setdefault(name, StageResult()).key = key
        self._open[stage] = name

    def _row(self, stage: str) -> StageResult:
        return self.results.get(self._open.get(stage, stage), StageResult())  # "repair" is not a stage

    def summary(self, written: Path) -> dict[str, Any]:
        """The result of the run as printed by `--json`."""
        stages = {stage: vars(result) for stage, result in self.results.items()}
        return {
            "output": to_json(written),
            "prefect_start_s": self.first_stage,
            "seconds": self.seconds,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "stages": stages,
        }

    @property
    def seconds(self) -> float:
        """Seconds since the first stage began; the start of Prefect is not counted."""
        return time.monotonic() - self.began - (self.first_stage or 0.0)

    def table(self) -> Table:
        """A table of stages with result, seconds, amount of work and quality."""
        table = Table("stage", "result", "seconds", "work", "quality", Column("artifact", no_wrap=True))
        colors = {"cached": "green", "failed": "red", "not reached": "dim"}
        for stage, result in self.results.items():
            how = f"[{colors[result.how]}]{result.how}[/]" if result.how in colors else result.how
            work = f"{result.done} {result.unit}" if result.done else ""
            seconds = f"{result.seconds:.1f}" if result.seconds else ""
            quality = ", ".join(f"{name} {value:.3g}" for name, value in result.quality.items())
            table.add_row(stage, how, seconds, work, quality, result.key)
        return table

    def _advance(self, done: int, total: int, unit: str, label: str) -> None:
        if label not in self._bars:
            self._bars[label] = self._progress.add_task(plain(label), total=total, unit=unit)
        self._progress.update(self._bars[label], completed=done, total=total)
