"""The command `deploy`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.terminal import escape
from flows.server.deploy import (
    DEPLOY,
    IN_IMAGE,
    check,
    check_cron,
    make_automations,
    make_deployments,
    make_limits,
    set_nightly_parameters,
)
from flows.server.work_pools import PoolType, make_pools
from stitchedit.errors import InputError
from storage.errors import StorageError

DEPLOY_EXAMPLES = """
[bold]Examples[/bold]

  stitchedit deploy --catalog /clips/nightly.yaml --store /clips/store

  stitchedit deploy --catalog /clips/nightly.yaml --store s3://bucket/edits --gpus 4 --cron "30 22 * * *"

  STITCHEDIT_NOTIFY=https://chat.example/hooks/abc stitchedit deploy --catalog /clips/nightly.yaml --store /clips/store

  stitchedit deploy --catalog /clips/nightly.yaml --store s3://edits/store --pool-type kubernetes --image reg/stitchedit
"""


def deploy(  # noqa: PLR0913, PLR0917 - the flags of a command
    context: typer.Context,
    catalog: Annotated[Path, typer.Option(help="Catalog of edit-catalog/nightly, as a path on its worker.")],
    store: Annotated[
        str, typer.Option(help="Store of artifacts, as a path on the workers or s3://…", envvar="STITCHEDIT_STORE")
    ],
    cron: Annotated[str, typer.Option(help="Cron schedule of edit-catalog/nightly, UTC.")] = "0 1 * * *",
    gpus: Annotated[int, typer.Option(min=1, help="Number of GPUs; each computes one stage at a time.")] = 1,
    runs: Annotated[
        int | None, typer.Option(min=1, help="Concurrent runs in pool gpu. Default: GPUs + 1; Kubernetes: GPUs.")
    ] = None,
    clips_at_once: Annotated[
        int | None, typer.Option(min=1, help="Concurrent clips of a catalog. Default: --runs.")
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(min=1, help="Time limit for each clip of a catalog, s. Default: none.")
    ] = None,
    notify: Annotated[
        str | None,
        typer.Option(
            help="Webhook that takes {'text': …}, called when clips of a catalog fail. A secret: set the variable.",
            envvar="STITCHEDIT_NOTIFY",
        ),
    ] = None,
    pool_type: Annotated[
        PoolType, typer.Option(help="Run each flow in a process of the worker, a container, or a Kubernetes job.")
    ] = "process",
    image: Annotated[str | None, typer.Option(help="Image of deploy/Dockerfile, for containers and jobs.")] = None,
) -> None:
    """Create or update work pools, limits, deployments and automations on the server at PREFECT_API_URL."""
    about = check_catalog(catalog, store)
    check(pool_type, image, gpus)
    check_cron(cron)
    from prefect.client.orchestration import get_client  # noqa: PLC0415

    source = context.get_parameter_source("notify")
    if source is not None and source.name == "COMMANDLINE":
        raise InputError(
            "--notify on the command line is visible to all users in the process list. Set STITCHEDIT_NOTIFY to the "
            "address instead, and omit --notify."
        )
    runs = runs or (gpus if pool_type == "kubernetes" else gpus + 1)  # one clip is decoded while another computes
    parameters = {"clips_at_once": clips_at_once or runs, "time_limit_s": time_limit}
    places = {
        "STITCHEDIT_CODE": str(DEPLOY.parent) if pool_type == "process" else IN_IMAGE,
        "STITCHEDIT_CATALOG": str(catalog.absolute()),
        "STITCHEDIT_STORE": store if store.startswith("s3://") else str(Path(store).absolute()),
        "STITCHEDIT_CRON": cron,
    }
    console = Console()
    console.print(escape(about), soft_wrap=True)
    with get_client(sync_client=True) as client:
        for line in (
            *make_pools(client, {"cpu": 4, "gpu": runs}, pool_type, image),
            *make_limits(client, ["stitchedit-cpu", *(f"stitchedit-gpu{number}" for number in range(gpus))]),
            *make_deployments(places),
            set_nightly_parameters(client, parameters),
            *make_automations(client, notify),
        ):
            console.print(escape(line), soft_wrap=True)


def check_catalog(catalog: Path, store: str) -> str:
    """Check the catalog if it is on this machine, and the name of the store; return a line for display.

    Raises:
        InputError: the catalog has problems, or the store is neither a folder nor an s3:// address.
    """
    from flows.catalog.reading import open_catalog  # noqa: PLC0415 - takes a second
    from flows.requests.checks import check_store_name  # noqa: PLC0415

    check_store_name(store)
    if not catalog.exists():
        return f"{catalog}: not on this machine, so it is checked when a run starts"
    try:
        count = len(open_catalog(catalog).clips)
    except StorageError as error:  # only the workers may have the keys of a bucket
        return f"{catalog}: its clips cannot be listed from here ({error})"
    return f"{catalog}: {count} clips"
