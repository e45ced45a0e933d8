"""`stitchedit deploy`: create or update pools, limits, deployments and automations on a Prefect server."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml
from rich.console import Console

from flows.cli.terminal import escape
from flows.server.work_pools import PoolType, make_pools
from stitchedit.errors import InputError
from storage.errors import StorageError

if TYPE_CHECKING:  # it takes seconds
    from prefect.client.orchestration import SyncPrefectClient

DEPLOY = Path(__file__).parents[2] / "deploy"
IN_IMAGE = "/opt/stitchedit"  # where deploy/Dockerfile puts the repository
NOTIFY = "$NOTIFY"  # placeholder in an automation's file for the id of the webhook block
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


def check(pool_type: PoolType, image: str | None, gpus: int) -> None:
    """Check server, installation and pool options before anything is deployed.

    Raises:
        InputError: no server is set, the installation is incomplete, or the pool type does not support the options.
    """
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415

    if not PREFECT_API_URL.value():
        raise InputError(
            "PREFECT_API_URL is not set. Run `prefect server start`, and set it to the server's address with /api."
        )
    if (pool_type != "process") != (image is not None):
        raise InputError(
            "--image and --pool-type docker or kubernetes need each other. Build deploy/Dockerfile for the image."
        )
    if pool_type == "docker" and gpus > 1:
        raise InputError("A pool of containers has one GPU. For more: --pool-type process and a worker for each.")
    if not (DEPLOY / "prefect.yaml").exists():
        raise InputError(
            f"There is no {DEPLOY / 'prefect.yaml'}. The installation is incomplete: reinstall stitchedit."
        )


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


def check_cron(cron: str) -> None:
    """Check the schedule before anything on the server is changed.

    Raises:
        InputError: Prefect cannot parse it.
    """
    from prefect.client.schemas.schedules import CronSchedule  # noqa: PLC0415

    try:
        CronSchedule(cron=cron)
    except ValueError as error:
        raise InputError(
            f"--cron {cron!r} is not a schedule. Give five fields, such as '0 1 * * *' for 1:00 UTC."
        ) from error


def make_limits(client: "SyncPrefectClient", names: list[str]) -> list[str]:
    """Create a concurrency limit of 1 for each device."""
    for name in names:
        client.upsert_global_concurrency_limit_by_name(name, 1)
    return [f"limit {name}: one stage at a time" for name in names]


def make_deployments(places: dict[str, str]) -> list[str]:
    """Create or update the deployments in deploy/prefect.yaml.

    Raises:
        InputError: Prefect refuses one of them.
    """
    from storage.safe_text import redacted  # noqa: PLC0415 - takes a second

    arguments = ["--no-prompt", "deploy", "--all", "--prefect-file", "deploy/prefect.yaml"]
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        cwd=DEPLOY.parent, env=os.environ | places, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise InputError(f"`prefect deploy` failed:\n{redacted(done.stdout + done.stderr)[-2000:]}")
    deployments = yaml.safe_load((DEPLOY / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    return [f"deployment {one['name']}: {one['description']}" for one in deployments]


def set_nightly_parameters(client: "SyncPrefectClient", numbers: dict[str, float | None]) -> str:
    """Set numeric parameters of edit-catalog/nightly: prefect.yaml would pass them as text."""
    from prefect.client.schemas.actions import DeploymentUpdate  # noqa: PLC0415

    found = client.read_deployment_by_name("edit-catalog/nightly")
    request = {**found.parameters["request"], **numbers}
    client.update_deployment(found.id, DeploymentUpdate(parameters={"request": request}))
    limit = f"at most {numbers['time_limit_s']:g} s each" if numbers["time_limit_s"] else "no time limit"
    return f"edit-catalog/nightly: {numbers['clips_at_once']} clips at once, {limit}"


def make_automations(client: "SyncPrefectClient", notify: str | None) -> list[str]:
    """Create or replace the automations in deploy/automations; those that notify need a webhook."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock  # noqa: PLC0415
    from prefect.events.schemas.automations import AutomationCore  # noqa: PLC0415

    block = ""
    if notify:
        fields = {"name": "stitchedit", "json_data": {"text": "{{subject}}\n{{body}}"}}
        secret = {"url": "{{address}}", "secrets": {"address": notify}}  # the address alone allows posting to the chat
        webhook = CustomWebhookNotificationBlock.model_validate(fields | secret)
        block = str(webhook.save("stitchedit-notify", overwrite=True))
    lines = []
    for path in sorted((DEPLOY / "automations").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if NOTIFY in text and not block:
            continue
        wanted = AutomationCore.model_validate(yaml.safe_load(text.replace(NOTIFY, block)))
        for found in client.read_automations_by_name(wanted.name):
            client.delete_automation(found.id)
        client.create_automation(wanted)
        lines.append(f"automation {wanted.name}: {wanted.description}")
    return lines
