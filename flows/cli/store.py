"""The commands `prune`, `store` and `verify`."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column, Table

from flows.cli.arguments import HERE, AsJson, Scratch, StoreUrl
from flows.cli.terminal import escape
from flows.requests.store_parts import chosen_artifacts, examined_files, opened_store, prune_rule

if TYPE_CHECKING:  # Zarr and object storage take a second
    from storage.artifact import Artifact
    from storage.prune import PruneDecision, PrunePlan
    from storage.store import Store
    from storage.usage import Contents, Share
    from storage.verify import VerifiedFile

PRUNE_EXAMPLES = """
[bold]Examples[/bold]

  stitchedit prune --keep-last 3 --dry-run

  stitchedit prune --older-than 30d

  stitchedit prune --max-size 500GB --store s3://bucket/edits
"""
STORE_EXAMPLES = """
[bold]Examples[/bold]

  stitchedit store

  stitchedit store --json --store s3://bucket/edits
"""
VERIFY_EXAMPLES = """
[bold]Examples[/bold]

  stitchedit verify

  stitchedit verify stitch align/0f3c9a1b2d4e5f60

  stitchedit verify --repair
"""


Artifacts = Annotated[
    list[str] | None, typer.Argument(metavar="ARTIFACT", help="STAGE, KEY or STAGE/KEY. Default: all artifacts.")
]


def prune(  # noqa: PLR0913, PLR0917 - the flags of a command
    keep_last: Annotated[int | None, typer.Option(metavar="N", help="Number of runs to keep of each clip.")] = None,
    older_than: Annotated[str | None, typer.Option(metavar="AGE", help="Drop runs older than 30d, 12h or 2w.")] = None,
    max_size: Annotated[str | None, typer.Option(metavar="SIZE", help="Size to keep, such as 500GB or 2TiB.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed, and remove nothing.")] = False,
    store: StoreUrl = HERE,
    scratch: Scratch = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Remove artifacts that only old runs need. Artifacts of runs in progress are always kept."""
    from storage.prune import plan_prune  # noqa: PLC0415
    from storage.prune import prune as remove  # noqa: PLC0415

    rule, place, console = prune_rule(keep_last, older_than, max_size), opened_store(store, scratch), Console()
    plan = plan_prune(place, rule, time.time())
    if not as_json:
        _print_plan(console, plan)
    skipped: list[PruneDecision] = []
    freed = 0
    if not dry_run:
        with Console(stderr=True).status("removing"):
            freed = remove(place, plan, lambda decision, done: None if done else skipped.append(decision))
    if as_json:
        facts = {"dry_run": dry_run, "freed_bytes": freed, "skipped": list(map(vars, skipped))}
        print(json.dumps(_plan_json(store, plan) | facts, indent=1))
        return
    for decision in skipped:
        console.print(f"[yellow]{decision.stage} {decision.key} is kept: it came into use after planning[/yellow]")
    result = f"would free {decimal(plan.freed_bytes)}" if dry_run else f"freed {decimal(freed)}"
    console.print(f"[bold]{result}[/bold]; {decimal(plan.kept_bytes)} kept")
    if rule.max_bytes is not None and plan.kept_bytes > rule.max_bytes:
        console.print(f"[yellow]More than {max_size} is kept: artifacts of runs in progress or just ended.[/yellow]")


def store(store: StoreUrl = HERE, scratch: Scratch = None, as_json: AsJson = False) -> None:
    """Show the use of space by stage, clip and edit, and artifacts that no run needs."""
    from storage.usage import clip_shares, contents, edit_shares, stage_shares, unreached  # noqa: PLC0415

    found = contents(opened_store(store, scratch))
    no_run = unreached(found)
    shares = {"stages": stage_shares(found), "clips": clip_shares(found), "edits": edit_shares(found)}
    if as_json:
        unfinished = [{"stage": name[0], "key": name[1], "bytes": size} for name, size in found.partial.items()]
        facts = {"store": store, "bytes": found.bytes, "runs": len(found.runs), "unfinished": unfinished}
        none = {"no_run": {"artifacts": len(no_run), "bytes": found.size(no_run)}}
        print(json.dumps(facts | {kind: list(map(vars, rows)) for kind, rows in shares.items()} | none, indent=1))
        return
    console = Console()
    for table in _usage_tables(found, shares):
        console.print(table)
    console.print(f"no run: {len(no_run)} artifacts, {decimal(found.size(no_run))}")
    console.print(f"unfinished: {len(found.partial)}, {decimal(sum(found.partial.values()))}")
    console.print(f"[bold]{escape(store)}: {decimal(found.bytes)}[/bold] of {len(found.runs)} runs", highlight=False)


def verify(
    artifacts: Artifacts = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Record the damage, so that the next run recomputes the damaged parts only."),
    ] = False,
    store: StoreUrl = HERE,
    scratch: Scratch = None,
    as_json: AsJson = False,
) -> None:
    """Compare every file with its SHA-256 and list damaged files. Exit code 1 if there are any."""
    place = opened_store(store, scratch)
    chosen = chosen_artifacts(place, artifacts or [])
    sizes = [_size(place, artifact) for artifact in chosen]
    console = Console(stderr=as_json)
    damaged: list[VerifiedFile] = []
    columns = (TextColumn("{task.description:<28}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("", total=sum(sizes))
        for artifact in chosen:
            progress.update(bar, description=f"{artifact.stage} {artifact.key}")
            for examined in examined_files(store, scratch, artifact, repair):
                progress.advance(bar, examined.bytes)
                damaged.extend([examined] if examined.fault else [])
    rows = [
        {"stage": bad.artifact.stage, "key": bad.artifact.key, "file": bad.file, "found": bad.fault} for bad in damaged
    ]
    if as_json:
        facts = {"store": store, "artifacts": len(chosen), "bytes": sum(sizes), "noted": repair, "damaged": rows}
        print(json.dumps(facts, indent=1))
    else:
        _print_damage(console, rows, f"{len(chosen)} artifacts, {decimal(sum(sizes))}", repair)
    raise typer.Exit(1 if damaged else 0)


def _print_plan(console: Console, plan: "PrunePlan") -> None:
    if plan.dropped:
        table = Table("clip", "edit", "started", "state", "reason", title="runs")
        for run in plan.runs:
            if run.name in plan.dropped:
                began = run.started[:16].replace("T", " ")
                ended = "interrupted" if run.state == "running" else run.state  # a live run is never dropped
                table.add_row(escape(Path(run.clip).name), escape(run.edit), began, ended, plan.dropped[run.name])
        console.print(table)
    if plan.goes:
        groups = Counter((decision.stage, decision.kind, decision.why) for decision in plan.goes)
        table = Table("stage", "kind", *_numbers("count", "size"), "reason", title="artifacts")
        for (stage, kind, why), count in groups.items():
            same = [v.bytes for v in plan.goes if (v.stage, v.kind, v.why) == (stage, kind, why)]
            table.add_row(stage, kind, str(count), decimal(sum(same)), why)
        console.print(table)


def _plan_json(store: str, plan: "PrunePlan") -> dict[str, Any]:
    runs = [run for run in plan.runs if run.name in plan.dropped]
    return {
        "store": store,
        "runs": [{"name": run.name, "clip": run.clip, "edit": run.edit, "why": plan.dropped[run.name]} for run in runs],
        "goes": [vars(decision) for decision in plan.goes],
        "stays": [vars(decision) for decision in plan.stays],
        "goes_bytes": plan.freed_bytes,
        "stays_bytes": plan.kept_bytes,
    }


def _usage_tables(found: "Contents", shares: Mapping[str, Sequence["Share"]]) -> Iterator[Table]:
    total = max(1, found.bytes)
    stages = Table("stage", *_numbers("artifacts", "size", "share"))
    for share in shares["stages"]:
        stages.add_row(share.name, str(share.artifacts), decimal(share.bytes), f"{share.bytes / total:.0%}")
    yield stages
    for kind in ("clips", "edits"):
        table = Table(kind[:-1], *_numbers("artifacts", "size", "exclusive", "shared"))
        for share in shares[kind]:
            sizes = (share.bytes, share.own_bytes, share.bytes - share.own_bytes)
            table.add_row(escape(share.name), str(share.artifacts), *map(decimal, sizes))
        yield table


def _numbers(*names: str) -> list[Column]:
    return [Column(name, justify="right") for name in names]


def _size(store: "Store", artifact: "Artifact") -> int:
    """Size of an artifact in bytes; 0 if its manifest is missing."""
    manifest = store.read_manifest(artifact.stage, artifact.key) or {"files": {}}
    return sum(listed["size"] for listed in manifest["files"].values())


def _print_damage(console: Console, damaged: Sequence[Mapping[str, str | None]], examined: str, repair: bool) -> None:
    if not damaged:
        console.print(f"[green]{examined}: all intact[/green]")
        return
    table = Table("stage", "key", "file", "found", title=f"{examined}; damaged files: {len(damaged)}")
    for row in damaged:
        table.add_row(*(escape(str(value)) for value in row.values()))
    console.print(table)
    if repair:
        console.print("Recorded. Run the same edit again to recompute the content of these files only.")
    else:
        console.print("With `stitchedit verify --repair`, the next run recomputes the content of these files only.")
