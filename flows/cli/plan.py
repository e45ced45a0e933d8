"""The commands `stitchedit plan` and `stitchedit why`."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.tree import Tree

from flows.cli.arguments import (
    HERE,
    AsJson,
    ClipArgument,
    DeviceName,
    Edits,
    End,
    FaceOptions,
    OptionArguments,
    Output,
    Preset,
    Scratch,
    Start,
    StoreUrl,
    edit_job,
)
from flows.cli.terminal import escape

if TYPE_CHECKING:  # they take seconds
    from flows.planning.lineage import Lineage
    from flows.planning.plan import Plan, StagePlan

PLAN_EXAMPLES = """
[bold]Examples[/bold]

  stitchedit plan interview.mp4 --edit smile=+2

  stitchedit plan interview.mp4 --edit smile=+3 stitch.steps=40 --json

  stitchedit plan nightly.yaml
"""
WHY_EXAMPLES = """
[bold]Examples[/bold]

  stitchedit why encode

  stitchedit why stitch/0123456789abcdef
"""
CATALOGS = (".yaml", ".yml", ".csv", ".jsonl")
COLORS = {"cached": "green", "partial": "yellow", "to run": "cyan"}


def plan(  # noqa: PLR0913, PLR0917 - the flags of a command
    clip: ClipArgument,
    options: OptionArguments = None,
    edits: Edits = None,
    faces: FaceOptions = None,
    output: Output = None,
    preset: Preset = "default",
    start: Start = None,
    end: End = None,
    store: StoreUrl = HERE,
    scratch: Scratch = None,
    device: DeviceName = "auto",
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash cached files, to find changed bytes before they are read.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show which stages `edit` of a clip or `run` of a catalog would compute, why, and the cost. Computes nothing."""
    if clip.suffix.lower() in CATALOGS:
        from flows.cli.catalog import plan_catalog  # noqa: PLC0415

        plan_catalog(clip, store, scratch, device, as_json)
        return
    job = edit_job(
        edits, faces, video=clip, options=options or [], output=output, preset=preset, start=start, end=end,
        store=store, scratch=scratch, device=device, remember=False,
    )  # fmt: skip
    from flows.planning.plan import as_json as to_json  # noqa: PLC0415 - imports Prefect, so after all checks
    from flows.planning.plan import plan_edit  # noqa: PLC0415

    planned = plan_edit(job, verify=verify)
    if as_json:
        print(to_json(planned))
    else:
        _show(planned, Console())


def why(
    artifact: Annotated[
        str, typer.Argument(help="STAGE for its latest artifact, STAGE/KEY, or the first digits of a key.")
    ],
    store: StoreUrl = HERE,
    scratch: Scratch = None,
    as_json: AsJson = False,
) -> None:
    """Show the lineage of a result down to the clip: inputs, options, networks, versions, host and times."""
    from flows.planning.lineage import find_artifact, trace  # noqa: PLC0415
    from storage.store import open_store  # noqa: PLC0415

    opened = open_store(store, scratch)
    lineage = trace(opened, *find_artifact(opened, artifact))
    if as_json:
        print(json.dumps(lineage.to_json(), indent=1))
    else:
        Console().print(_tree(lineage, set()))


def _show(planned: "Plan", console: Console) -> None:
    table = Table("stage", "state", "why", "time", "size")
    for stage in planned.stages:
        state = f"[{COLORS[stage.state]}]{stage.state}[/]{_progress(stage)}"
        reasons = [escape(reason) for reason in stage.reasons]
        if stage.condition:
            reasons.append(f"if the result of {stage.condition} does not change")
        time = _duration(stage.seconds) if stage.state != "cached" else ""
        table.add_row(stage.stage, state, "\n".join(reasons), time, _size(stage.bytes))
    console.print(table)
    console.print(f"to run: {_costs(planned)}")
    cached = any(stage.state == "cached" for stage in planned.stages)
    console.print(f"cached: saves about {_duration(planned.seconds_saved)}" if cached else "cached: nothing")


def _costs(planned: "Plan") -> str:
    """Estimated time and size of the stages to run, from earlier results in the store."""
    if planned.seconds is None:
        return f"time and size unknown: no result of {', '.join(planned.unknown)} is in this store yet"
    more = f", plus {', '.join(planned.unknown)}, without recorded results" if planned.unknown else ""
    return f"about {_duration(planned.seconds)} and {_size(planned.bytes)}{more}"


def _progress(stage: "StagePlan") -> str:
    if not stage.done and not stage.total:
        return ""
    return f" {stage.done}{f' of {stage.total}' if stage.total else ''} {stage.unit}"


def _tree(lineage: "Lineage", shown: set[tuple[str, str]], tree: Tree | None = None, name: str = "") -> Tree:
    """A tree of an artifact, its facts and its inputs; an artifact shown before is only named."""
    manifest, facts = lineage.manifest, lineage.manifest["lineage"]
    shown.add((lineage.stage, lineage.key))
    title = f"{f'{name}: ' if name else ''}[bold]{lineage.stage}/{lineage.key}[/bold]"
    branch = Tree(title) if tree is None else tree.add(title)
    size = sum(listed["size"] for listed in manifest["files"].values())
    branch.add(f"{len(manifest['files'])} files, {_size(size)}, content {manifest['digest'][:12]}")
    for attempt in facts.get("attempts", []):
        seconds = "interrupted" if attempt["seconds"] is None else _duration(attempt["seconds"])
        branch.add(escape(f"{attempt['started']} on {attempt['host']}: {seconds}"))
    branch.add(escape(", ".join(f"{package} {version}" for package, version in facts.get("software", {}).items())))
    _add_leaves(branch, "options", manifest["recipe"]["options"])
    _add_leaves(branch, "networks", {key: value[:12] for key, value in manifest["recipe"]["networks"].items()})
    if manifest["recipe"]["code"]:
        branch.add(f"code {manifest['recipe']['code']}, {len(facts.get('code', {}))} definitions")
    for key, value in lineage.inputs.items():
        if isinstance(value, str):
            branch.add(f"{escape(key)}: {escape(value)}")
        elif (value.stage, value.key) in shown:
            branch.add(f"{key}: {value.stage}/{value.key}, see above")
        else:
            _tree(value, shown, branch, key)
    return branch


def _add_leaves(branch: Tree, title: str, values: Mapping[str, Any]) -> None:
    if values:
        inner = branch.add(title)
        for name, value in values.items():
            text = ", ".join(f"{key}={part}" for key, part in value.items()) if isinstance(value, Mapping) else value
            inner.add(escape(f"{name}: {text}"))


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _size(size: float | None) -> str:
    return "" if size is None else decimal(int(size))
