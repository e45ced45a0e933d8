"""`stitchedit deploy`: all that a Prefect server has to know, made or brought up to date, as often as you like."""

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
NOTIFY = "$NOTIFY"  # in a file of an automation: the block that tells the webhook
DEPLOY_EXAMPLES = """
[bold]Examples[/bold]

  stitchedit deploy --catalog /clips/nightly.yaml --store /clips/store

  stitchedit deploy --catalog /clips/nightly.yaml --store s3://bucket/edits --gpus 4 --cron "30 22 * * *"

  STITCHEDIT_NOTIFY=https://chat.example/hooks/abc stitchedit deploy --catalog /clips/nightly.yaml --store /clips/store

  stitchedit deploy --catalog /clips/nightly.yaml --store s3://edits/store --pool-type kubernetes --image reg/stitchedit
"""


def deploy(  # noqa: PLR0913, PLR0917 - the flags of a command
    context: typer.Context,
    catalog: Annotated[Path, typer.Option(help="What edit-catalog/nightly edits, as its worker finds it.")],
    store: Annotated[str, typer.Option(help="Where results are kept, as workers find it.", envvar="STITCHEDIT_STORE")],
    cron: Annotated[str, typer.Option(help="When edit-catalog/nightly starts, UTC.")] = "0 1 * * *",
    gpus: Annotated[int, typer.Option(min=1, help="One stage at a time computes on each.")] = 1,
    runs: Annotated[int | None, typer.Option(min=1, help="At once in pool gpu; gpus + 1 unless given.")] = None,
    clips_at_once: Annotated[int | None, typer.Option(min=1, help="Of a catalog; as --runs unless given.")] = None,
    time_limit: Annotated[
        float | None, typer.Option(min=1, help="s; a clip of a catalog that takes longer is stopped.")
    ] = None,
    notify: Annotated[
        str | None,
        typer.Option(
            help="Webhook that takes {'text': …}, told when a catalog lost clips. Secret: by the variable only.",
            envvar="STITCHEDIT_NOTIFY",
        ),
    ] = None,
    pool_type: Annotated[
        PoolType, typer.Option(help="What a run is: a process of its worker, a container, a job.")
    ] = "process",
    image: Annotated[str | None, typer.Option(help="Of deploy/Dockerfile, for containers and jobs.")] = None,
) -> None:
    """Make work pools, limits, deployments and automations on the server of PREFECT_API_URL, or update them."""
    about = check_catalog(catalog, store)
    check(pool_type, image, gpus)
    check_cron(cron)
    from prefect.client.orchestration import get_client  # noqa: PLC0415

    source = context.get_parameter_source("notify")
    if source is not None and source.name == "COMMANDLINE":
        raise InputError(
            "--notify on the command line is seen by everybody in the list of processes. Set STITCHEDIT_NOTIFY to the "
            "address instead, and leave --notify out."
        )
    runs = runs or (gpus if pool_type == "kubernetes" else gpus + 1)  # one is decoded while another computes
    night = {"clips_at_once": clips_at_once or runs, "time_limit_s": time_limit}
    places = {
        "STITCHEDIT_CODE": str(DEPLOY.parent) if pool_type == "process" else IN_IMAGE,
        "STITCHEDIT_CATALOG": str(catalog.absolute()),
        "STITCHEDIT_STORE": store if store.startswith("s3://") else str(Path(store).absolute()),
        "STITCHEDIT_CRON": cron,
    }
    console = Console()
    console.print(escape(about), soft_wrap=True)
    with get_client(sync_client=True) as client:
        for told in (
            *make_pools(client, {"cpu": 4, "gpu": runs}, pool_type, image),
            *make_limits(client, ["stitchedit-cpu", *(f"stitchedit-gpu{number}" for number in range(gpus))]),
            *make_deployments(places),
            set_night(client, night),
            *make_automations(client, notify),
        ):
            console.print(escape(told), soft_wrap=True)


def check(pool_type: PoolType, image: str | None, gpus: int) -> None:
    """Refuse what cannot be deployed, and where it cannot be.

    Raises:
        InputError: there is no server, the installation is incomplete, or the pools cannot have these options.
    """
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415

    if not PREFECT_API_URL.value():
        raise InputError("PREFECT_API_URL is not set. Start `prefect server start`, and give its address with /api.")
    if (pool_type != "process") != (image is not None):
        raise InputError(
            "--image goes with --pool-type docker or kubernetes, and these need it: build deploy/Dockerfile."
        )
    if pool_type == "docker" and gpus > 1:
        raise InputError("A pool of containers has one GPU. For more: --pool-type process and a worker for each.")
    if not (DEPLOY / "prefect.yaml").exists():
        raise InputError(
            f"There is no {DEPLOY / 'prefect.yaml'}. The installation is incomplete: install stitchedit again."
        )


def check_catalog(catalog: Path, store: str) -> str:
    """Refuse a catalog that no night could run, if it lies here: workers may have another disk.

    Raises:
        InputError: it is wrong somewhere, or the store is no place for one.
    """
    from flows.catalog.reading import open_catalog  # noqa: PLC0415 - takes a second
    from flows.requests.checks import check_store_name  # noqa: PLC0415

    check_store_name(store)
    if not catalog.exists():
        return f"{catalog}: not on this machine, so it is checked when a night begins"
    try:
        count = len(open_catalog(catalog).clips)
    except StorageError as error:  # a bucket whose keys the workers have
        return f"{catalog}: its clips cannot be listed from here ({error})"
    return f"{catalog}: {count} clips"


def check_cron(cron: str) -> None:
    """Refuse what is no schedule, before anything of the server is changed.

    Raises:
        InputError: Prefect cannot read it.
    """
    from prefect.client.schemas.schedules import CronSchedule  # noqa: PLC0415

    try:
        CronSchedule(cron=cron)
    except ValueError as error:
        raise InputError(f"--cron {cron!r} is no schedule. Give five fields, as '0 1 * * *' for 1:00 UTC.") from error


def make_limits(client: "SyncPrefectClient", names: list[str]) -> list[str]:
    """Limits that make stages on one device take turns."""
    for name in names:
        client.upsert_global_concurrency_limit_by_name(name, 1)
    return [f"limit {name}: one stage at a time" for name in names]


def make_deployments(places: dict[str, str]) -> list[str]:
    """Those of deploy/prefect.yaml.

    Raises:
        InputError: Prefect refuses one.
    """
    from storage.safe_text import redacted  # noqa: PLC0415 - takes a second

    words = ["--no-prompt", "deploy", "--all", "--prefect-file", "deploy/prefect.yaml"]
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *words],
        cwd=DEPLOY.parent, env=os.environ | places, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise InputError(f"`prefect deploy` failed:\n{redacted(done.stdout + done.stderr)[-2000:]}")
    made = yaml.safe_load((DEPLOY / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    return [f"deployment {one['name']}: {one['description']}" for one in made]


def set_night(client: "SyncPrefectClient", numbers: dict[str, float | None]) -> str:
    """Give edit-catalog/nightly its numbers: from an environment variable they would come as text."""
    from prefect.client.schemas.actions import DeploymentUpdate  # noqa: PLC0415

    found = client.read_deployment_by_name("edit-catalog/nightly")
    request = {**found.parameters["request"], **numbers}
    client.update_deployment(found.id, DeploymentUpdate(parameters={"request": request}))
    limit = f"{numbers['time_limit_s']:g} s at most for each" if numbers["time_limit_s"] else "each as long as it takes"
    return f"a night: {numbers['clips_at_once']} clips at once, {limit}"


def make_automations(client: "SyncPrefectClient", notify: str | None) -> list[str]:
    """Those of deploy/automations, in place of any with their names; one that notifies only with a webhook."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock  # noqa: PLC0415
    from prefect.events.schemas.automations import AutomationCore  # noqa: PLC0415

    block = ""
    if notify:
        words = {"name": "stitchedit", "json_data": {"text": "{{subject}}\n{{body}}"}}
        secret = {"url": "{{address}}", "secrets": {"address": notify}}  # whoever knows it can write to the chat
        webhook = CustomWebhookNotificationBlock.model_validate(words | secret)
        block = str(webhook.save("stitchedit-notify", overwrite=True))
    told = []
    for path in sorted((DEPLOY / "automations").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        if NOTIFY in text and not block:
            continue
        wanted = AutomationCore.model_validate(yaml.safe_load(text.replace(NOTIFY, block)))
        for found in client.read_automations_by_name(wanted.name):
            client.delete_automation(found.id)
        client.create_automation(wanted)
        told.append(f"automation {wanted.name}: {wanted.description}")
    return told
