"""The commands that look after a store: what uses it, what may go, and whether all of it is whole."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column, Table

from flows.cli.arguments import HERE, AsJson, Scratch, StoreUrl
from flows.cli.terminal import escape
from stitchedit.errors import InputError

if TYPE_CHECKING:  # Zarr and object storage take a second
    from storage.artifact import Artifact
    from storage.prune import PruneDecision, PrunePlan, PruneRule
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

SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "pb": 10**15}
BYTES |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "pib": 2**50}

Artifacts = Annotated[
    list[str] | None, typer.Argument(metavar="ARTIFACT", help="STAGE, KEY or STAGE/KEY; all unless given.")
]


def prune(  # noqa: PLR0913, PLR0917 - the flags of a command
    keep_last: Annotated[int | None, typer.Option(metavar="N", help="Runs of each clip that stay.")] = None,
    older_than: Annotated[str | None, typer.Option(metavar="AGE", help="Runs that go, such as 30d, 12h, 2w.")] = None,
    max_size: Annotated[str | None, typer.Option(metavar="SIZE", help="What may stay, such as 500GB, 2TiB.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    store: StoreUrl = HERE,
    scratch: Scratch = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Free space: remove what only old runs need. What a run that goes on makes, reads or has reached always stays."""
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
            freed = remove(place, plan, lambda verdict, done: None if done else skipped.append(verdict))
    if as_json:
        facts = {"dry_run": dry_run, "freed_bytes": freed, "skipped": list(map(vars, skipped))}
        print(json.dumps(_plan_json(store, plan) | facts, indent=1))
        return
    for verdict in skipped:
        console.print(f"[yellow]{verdict.stage} {verdict.key} stays: it came into use meanwhile[/yellow]")
    would = f"would free {decimal(plan.freed_bytes)}" if dry_run else f"freed {decimal(freed)}"
    console.print(f"[bold]{would}[/bold]; {decimal(plan.kept_bytes)} stay")
    if rule.max_bytes is not None and plan.kept_bytes > rule.max_bytes:
        console.print(f"[yellow]More than {max_size} stay: runs that go on, or what was made just now.[/yellow]")


def store(store: StoreUrl = HERE, scratch: Scratch = None, as_json: AsJson = False) -> None:
    """Show what uses the space: by stage, by clip, by edit, and what no run needs."""
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
        bool, typer.Option("--repair", help="Note what is damaged: the next run makes it again, and only it.")
    ] = False,
    store: StoreUrl = HERE,
    scratch: Scratch = None,
    as_json: AsJson = False,
) -> None:
    """Read every file, compare it with its SHA-256, and tell what is damaged: then the exit code is 1."""
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


def parse_age(text: str) -> float:
    """Seconds in `30d`.

    Raises:
        InputError: it is no age.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", text.strip().lower())
    if not match:
        raise InputError(f"--older-than is {text!r}. Write a number with m, h, d or w, such as 30d or 12h.")
    return float(match[1]) * SECONDS[match[2]]


def parse_size(text: str) -> int:
    """Bytes in `500GB` (10^9 each) or `500GiB` (2^30 each).

    Raises:
        InputError: it is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    if not match or match[2] not in BYTES:
        raise InputError(f"--max-size is {text!r}. Write a number with kB, MB, GB, TB or KiB .. TiB, such as 500GB.")
    return int(float(match[1]) * BYTES[match[2]])


def opened_store(url: str, scratch: Path | None) -> "Store":
    from storage.store import check_address, open_store  # noqa: PLC0415 - Zarr and object storage take a second

    check_address(url)
    if not url.startswith("s3://") and not Path(url).is_dir():
        raise InputError(f"There is no store at {Path(url).absolute()}. Give its folder, or s3://..., with --store.")
    return open_store(url, scratch)


def prune_rule(keep_last: int | None, older_than: str | None, max_size: str | None) -> "PruneRule":
    from storage.prune import PruneRule  # noqa: PLC0415

    if keep_last is None and older_than is None and max_size is None:
        raise InputError("Say what may go: --keep-last 3, --older-than 30d or --max-size 500GB. Try it with --dry-run.")
    if keep_last is not None and keep_last < 0:
        raise InputError(f"--keep-last is {keep_last}. Give the number of runs to keep of each clip, 0 or more.")
    age = parse_age(older_than) if older_than is not None else None
    return PruneRule(keep_last, age, parse_size(max_size) if max_size is not None else None)


def _print_plan(console: Console, plan: "PrunePlan") -> None:
    if plan.dropped:
        table = Table("clip", "edit", "began", "state", "why it goes", title="runs")
        for run in plan.runs:
            if run.name in plan.dropped:
                began = run.started[:16].replace("T", " ")
                ended = "cut off" if run.state == "running" else run.state  # one that lives is never dropped
                table.add_row(escape(Path(run.clip).name), escape(run.edit), began, ended, plan.dropped[run.name])
        console.print(table)
    if plan.goes:
        groups = Counter((verdict.stage, verdict.kind, verdict.why) for verdict in plan.goes)
        table = Table("stage", "what", *_numbers("count", "size"), "why it goes", title="artifacts")
        for (stage, kind, why), count in groups.items():
            same = [v.bytes for v in plan.goes if (v.stage, v.kind, v.why) == (stage, kind, why)]
            table.add_row(stage, kind, str(count), decimal(sum(same)), why)
        console.print(table)


def _plan_json(store: str, plan: "PrunePlan") -> dict[str, Any]:
    runs = [run for run in plan.runs if run.name in plan.dropped]
    return {
        "store": store,
        "runs": [{"name": run.name, "clip": run.clip, "edit": run.edit, "why": plan.dropped[run.name]} for run in runs],
        "goes": [vars(verdict) for verdict in plan.goes],
        "stays": [vars(verdict) for verdict in plan.stays],
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
        table = Table(kind[:-1], *_numbers("artifacts", "size", "of its own", "shared"))
        for share in shares[kind]:
            sizes = (share.bytes, share.own_bytes, share.bytes - share.own_bytes)
            table.add_row(escape(share.name), str(share.artifacts), *map(decimal, sizes))
        yield table


def _numbers(*names: str) -> list[Column]:
    return [Column(name, justify="right") for name in names]


def chosen_artifacts(store: "Store", words: Sequence[str]) -> list["Artifact"]:
    """Artifacts that one of `words` names; all without any."""
    from storage.artifact import Artifact  # noqa: PLC0415

    known = [Artifact(store.folder, stage, key, "") for stage, key in store.backend.finished()]
    unknown = [word for word in words if not any(_is_named(artifact, word) for artifact in known)]
    if unknown:
        raise InputError(
            f"No artifact {unknown[0]!r} in {store.backend.url}. Give a stage, the beginning of a key, or STAGE/KEY, "
            "as `stitchedit verify --json` and the table of `stitchedit edit` show them."
        )
    return [artifact for artifact in known if not words or any(_is_named(artifact, word) for word in words)]


def _size(store: "Store", artifact: "Artifact") -> int:
    """Bytes of its files, none when that cannot be known."""
    manifest = store.read_manifest(artifact.stage, artifact.key) or {"files": {}}
    return sum(listed["size"] for listed in manifest["files"].values())


def _is_named(artifact: "Artifact", word: str) -> bool:
    stage, _, key = word.rpartition("/")
    if stage:
        return artifact.stage == stage and artifact.key.startswith(key)
    return artifact.stage == word or artifact.key.startswith(word)


def examined_files(url: str, scratch: Path | None, artifact: "Artifact", repair: bool) -> Iterator["VerifiedFile"]:
    """Every file of an artifact, its damage noted if wanted.

    What is in a bucket is brought to a folder of its own: copies that runs work with are left alone.
    """
    from storage.store import open_store  # noqa: PLC0415
    from storage.verify import note_damage, verify_files  # noqa: PLC0415

    if scratch:
        scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch, prefix="verify-") as own:
        store = open_store(url, Path(own))
        for examined in verify_files(store, artifact):
            if examined.fault and repair:
                note_damage(store, examined)
            yield examined


def _print_damage(console: Console, damaged: Sequence[Mapping[str, str | None]], examined: str, repair: bool) -> None:
    if not damaged:
        console.print(f"[green]{examined}: all whole[/green]")
        return
    table = Table("stage", "key", "file", "found", title=f"{examined}; damaged files: {len(damaged)}")
    for row in damaged:
        table.add_row(*(escape(str(value)) for value in row.values()))
    console.print(table)
    if repair:
        console.print("Noted. Run the same edit again: what these files held is made again, and nothing else.")
    else:
        console.print("`stitchedit verify --repair` has the next run make again what these files held, and only that.")
