"""The commands `run`, `status`, `report`, `approve`, `reject` and `schema`, and `plan` of a catalog."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from flows.cli.arguments import HERE, AsJson, DeviceName, Scratch, StoreUrl
from flows.cli.terminal import escape, plain
from flows.server.signals import stop_on_signal

if TYPE_CHECKING:  # they take seconds
    from flows.catalog.outcomes import Outcome
    from flows.catalog.reading import OpenCatalog
    from flows.catalog.request import CatalogRequest
    from storage.store import Store

RUN_EXAMPLES = """
[bold]Examples[/bold]

  stitchedit run nightly.yaml

  stitchedit run nightly.yaml --clips-at-once 3 --time-limit 3600 --tag drama

  stitchedit run nightly.yaml --deployment edit-video/on-demand
"""
STATUS_EXAMPLES = """
[bold]Examples[/bold]

  stitchedit status nightly.yaml

  stitchedit status nightly.yaml --json
"""
DECIDE_EXAMPLES = """
[bold]Examples[/bold]

  stitchedit approve nightly.yaml interview.mp4

  stitchedit reject nightly.yaml interview_smile+2.mp4 --by anna
"""
CatalogFile = Annotated[Path, typer.Argument(help="Catalog as YAML, CSV or JSON Lines; see `stitchedit schema`.")]
ClipName = Annotated[str, typer.Argument(help="Name or path of the clip, or of its result.")]
By = Annotated[str | None, typer.Option(help="Name recorded with the decision. Default: the current user.")]
COLORS = dict.fromkeys(("published", "unchanged"), "green") | dict.fromkeys(("review", "held"), "yellow")
COLORS |= dict.fromkeys(("new", "changed"), "cyan")


def run(  # noqa: PLR0913, PLR0917 - the flags of a command
    catalog: CatalogFile,
    store: StoreUrl = HERE,
    scratch: Scratch = None,
    device: DeviceName = "auto",
    clips_at_once: Annotated[int, typer.Option(help="Concurrent runs; stages on the device take turns.")] = 2,
    time_limit: Annotated[
        float | None, typer.Option(help="Time limit for each clip, s. The next run resumes a stopped clip.")
    ] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="Edit only clips with this tag. Repeatable.")] = None,
    deployment: Annotated[
        str | None, typer.Option(help="Run on the workers of this deployment, such as edit-video/on-demand.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Edit the new and changed clips of a catalog. Exit code 1 if a clip failed; the others are still edited."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    from flows.catalog.request import check_catalog_request  # noqa: PLC0415 - takes a second

    fields = {"clips_at_once": clips_at_once, "time_limit_s": time_limit, "deployment": deployment, "tags": tags or []}
    request = _request(catalog, store, scratch, device, **fields)
    check_catalog_request(request)
    opened, artifacts, console = _open(request), request.open_store(), Console(stderr=as_json)
    from flows.catalog.children import cancel_this_run  # noqa: PLC0415 - imports Prefect, so after all checks
    from flows.catalog.jobs import select_clips  # noqa: PLC0415
    from flows.cli.display import RunDisplay  # noqa: PLC0415
    from flows.edit_catalog import edit_catalog  # noqa: PLC0415

    with RunDisplay(console):
        stop_on_signal(console, cancel_this_run)
        state = edit_catalog(request, return_state=True)
    shown = replace(opened, clips=select_clips(opened, request.tags))
    _show(opened, _outcomes(shown, artifacts, request), console, as_json)
    console.print(escape(state.message or ""), soft_wrap=True)
    if not state.is_completed():
        raise typer.Exit(1)


def status(
    catalog: CatalogFile,
    store: StoreUrl = HERE,
    scratch: Scratch = None,
    device: DeviceName = "auto",
    as_json: AsJson = False,
) -> None:
    """Show the outcome of every clip, and which are new or changed. Computes nothing."""
    opened, request = _opened(catalog, store, scratch, device)
    _show(opened, _outcomes(opened, request.open_store(), request), Console(stderr=as_json), as_json)


def report(catalog: CatalogFile, store: StoreUrl = HERE, scratch: Scratch = None, device: DeviceName = "auto") -> None:
    """Rewrite the catalog's summary page: verdict, thumbnail, cost and saved time of every clip."""
    from flows.catalog.summary import write_summary  # noqa: PLC0415

    opened, request = _opened(catalog, store, scratch, device)
    artifacts = request.open_store()
    print(plain(write_summary(opened, _outcomes(opened, artifacts, request), artifacts)))


def approve(  # noqa: PLR0913, PLR0917 - the flags of a command
    catalog: CatalogFile, clip: ClipName, by: By = None, store: StoreUrl = HERE, scratch: Scratch = None,
    device: DeviceName = "auto",
) -> None:  # fmt: skip
    """Publish a result that is held or flagged for review."""
    _decide(_opened(catalog, store, scratch, device), clip, "approved", by)


def reject(  # noqa: PLR0913, PLR0917 - the flags of a command
    catalog: CatalogFile, clip: ClipName, by: By = None, store: StoreUrl = HERE, scratch: Scratch = None,
    device: DeviceName = "auto",
) -> None:  # fmt: skip
    """Move a result to the folder of held results. It is recomputed only when the clip or its recipe changes."""
    _decide(_opened(catalog, store, scratch, device), clip, "rejected", by)


def schema() -> None:
    """Print the JSON Schema of a catalog, for editors."""
    from flows.catalog.entries import Catalog  # noqa: PLC0415

    print(json.dumps(Catalog.model_json_schema(), indent=1))


def plan_catalog(catalog: Path, store: str, scratch: Path | None, device: str, as_json: bool) -> None:
    """Print what `run` would do with every clip, and the estimated cost."""
    from flows.catalog.request import check_catalog_request  # noqa: PLC0415 - takes a second

    request = _request(catalog, store, scratch, device)
    check_catalog_request(request)
    opened = _open(request)
    from flows.catalog.jobs import Job, prepare_job  # noqa: PLC0415 - imports Prefect: after all was checked
    from tasks.runtime.stage_names import STAGES  # noqa: PLC0415

    artifacts, rows = request.open_store(), []
    for clip in opened.clips:
        job = prepare_job(clip, opened, request, artifacts, remember=False)
        row: dict[str, Any] = {"clip": str(clip.source), "stages": [], "seconds": 0.0, "saved": 0.0, "unknown": []}
        if isinstance(job, Job):
            assert job.plan is not None
            to_run = [stage.stage for stage in job.plan.stages if stage.state != "cached"]
            state = "changed" if job.before else "new"
            costs = {"seconds": job.plan.seconds, "saved": job.plan.seconds_saved, "unknown": job.plan.unknown}
            row |= {"stages": to_run, **costs}
        else:
            state = f"cannot be edited: {job.error}" if job.error else "unchanged"
        rows.append(row | {"state": state})
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table("clip", "state", "stages to run", "about", "saved", title=opened.name)
    for row in rows:
        state = f"[{COLORS.get(row['state'], 'red')}]{escape(row['state'])}[/]"
        more = " and more" if row["unknown"] else ""
        seconds = "unknown" if row["seconds"] is None else f"{row['seconds']:.0f} s{more}"
        stages = "all" if len(set(row["stages"])) == len(STAGES) else ", ".join(row["stages"])
        table.add_row(escape(Path(row["clip"]).name), state, stages, seconds, f"{row['saved']:.0f} s")
    Console().print(table)


def _opened(catalog: Path, store: str, scratch: Path | None, device: str) -> tuple["OpenCatalog", "CatalogRequest"]:
    from flows.requests.checks import check_device_name  # noqa: PLC0415

    check_device_name(device)
    request = _request(catalog, store, scratch, device)
    return _open(request), request


def _request(catalog: Path, store: str, scratch: Path | None, device: str, **fields: Any) -> "CatalogRequest":
    from flows.catalog.request import CatalogRequest  # noqa: PLC0415 - takes a second
    from flows.requests.checks import validated  # noqa: PLC0415

    path = os.path.normpath(catalog.absolute())
    return validated(CatalogRequest, catalog=path, store=store, scratch=scratch, device=device, **fields)


def _open(request: "CatalogRequest") -> "OpenCatalog":
    from flows.catalog.reading import open_catalog  # noqa: PLC0415 - takes a second

    return open_catalog(request.catalog, request.scratch, request.open_store())


def _outcomes(opened: "OpenCatalog", store: "Store", request: Any) -> list["Outcome"]:
    """The current outcome of every clip; `new` or `changed` if no recorded one still holds."""
    from flows.catalog.jobs import current_outcome  # noqa: PLC0415

    return [current_outcome(clip, opened, request, store) for clip in opened.clips]


def _show(opened: "OpenCatalog", outcomes: list["Outcome"], console: Console, as_json: bool) -> None:
    if as_json:
        from flows.catalog.outcomes import outcome_to_json  # noqa: PLC0415

        print(json.dumps(list(map(outcome_to_json, outcomes)), indent=1))
        for note in opened.notes:
            console.print(escape(note), soft_wrap=True)
        return
    table = Table("clip", "result", Column("state", no_wrap=True), "why", "s", title=opened.name)
    for outcome in outcomes:
        why = "; ".join(outcome.why)
        seconds = "" if outcome.seconds is None else f"{outcome.seconds:.0f}"
        state = f"[{COLORS.get(outcome.state, 'red')}]{escape(outcome.state)}[/]"
        named = (escape(Path(path).name) for path in (outcome.source, outcome.output))
        table.add_row(*named, state, escape(why), seconds)
    console.print(table)
    for note in opened.notes:
        console.print(escape(note), soft_wrap=True)


def _decide(given: tuple["OpenCatalog", Any], name: str, what: str, by: str | None) -> None:
    from flows.catalog.decisions import decide  # noqa: PLC0415
    from flows.catalog.outcomes import WITH_RESULT, write_outcome  # noqa: PLC0415
    from stitchedit.errors import InputError  # noqa: PLC0415

    opened, request = given
    store = request.open_store()
    found = [one for one in _outcomes(opened, store, request) if name in _names(one, opened)]
    if len(found) != 1:
        listed = ", ".join(os.path.relpath(one.output, opened.folder) for one in found)
        remedy = f"Name the result: {listed}" if found else "`stitchedit status` lists the clips"
        raise InputError(f"{name}: {len(found)} clips of {opened.name} have this name. {remedy}.")
    (outcome,) = found
    if outcome.state not in WITH_RESULT:
        raise InputError(f"{name} is {outcome.state}: there is no result to be {what}. Run the catalog first.")
    exists = outcome.place.exists()
    decided = decide(store, outcome, what, by or os.environ.get("USER", "somebody"))
    write_outcome(store, opened.name, decided)
    missing = "" if exists else "; its files are missing, and the next run writes them"
    print(plain(f"{Path(outcome.source).name}: {outcome.state} before, {decided.state} now, {decided.place}{missing}"))


def _names(outcome: "Outcome", opened: "OpenCatalog") -> set[str]:
    """Names that identify a clip: path, path from the catalog or file name, of the clip or its result."""
    paths = (outcome.source, outcome.output)
    return {name for path in paths for name in (path, os.path.relpath(path, opened.folder), Path(path).name)}
