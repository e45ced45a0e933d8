"""Work pools, limits, deployments and automations of a Prefect server: created or updated."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from flows.server.work_pools import PoolType
from stitchedit.errors import InputError

if TYPE_CHECKING:  # it takes seconds
    from prefect.client.orchestration import SyncPrefectClient

DEPLOY = Path(__file__).parents[2] / "deploy"
IN_IMAGE = "/opt/stitchedit"  # where deploy/Dockerfile puts the repository
NOTIFY = "$NOTIFY"  # placeholder in an automation's file for the id of the webhook block


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
