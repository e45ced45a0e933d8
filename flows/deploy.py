"""`stitchedit deploy`: all that a Prefect server has to know, made or brought up to date, as often as you like."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

from flows.arguments import HERE
from stitchedit.errors import InputError

DEPLOY = Path(__file__).parents[1] / "deploy"
DEPLOY_EXAMPLES = """
[bold]Examples[/bold]

  stitchedit deploy --catalog /clips/nightly.yaml --store /clips/store

  stitchedit deploy --catalog /clips/nightly.yaml --store s3://bucket/edits --gpus 4 --cron "30 22 * * *"
"""


def deploy(
    catalog: Annotated[Path, typer.Option(help="What edit-catalog/nightly edits, as its worker finds it.")],
    store: Annotated[str, typer.Option(help="Where results are kept, as workers find it.", envvar="STITCHEDIT_STORE")],
    cron: Annotated[str, typer.Option(help="When edit-catalog/nightly starts, UTC.")] = "0 1 * * *",
    gpus: Annotated[int, typer.Option(min=1, help="One stage at a time computes on each.")] = 1,
    runs: Annotated[
        int | None, typer.Option(min=1, help="Under way at once in pool gpu; gpus + 1 unless given.")
    ] = None,
) -> None:
    """Make work pools, limits, deployments and automations on the server of PREFECT_API_URL, or update them."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate  # noqa: PLC0415
    from prefect.events.schemas.automations import AutomationCore  # noqa: PLC0415
    from prefect.exceptions import ObjectNotFound  # noqa: PLC0415
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415

    if not PREFECT_API_URL.value():
        raise InputError("PREFECT_API_URL is not set. Start `prefect server start`, and give its address with /api.")
    if not (DEPLOY / "prefect.yaml").exists():
        raise InputError(f"There is no {DEPLOY / 'prefect.yaml'}. Deploy from a clone of the repository.")
    console, limits = Console(), {"cpu": 4, "gpu": runs or gpus + 1}
    with get_client(sync_client=True) as client:
        for name, limit in limits.items():
            try:
                client.read_work_pool(name)
                client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit))
            except ObjectNotFound:
                client.create_work_pool(WorkPoolCreate(name=name, type="process", concurrency_limit=limit))
            console.print(f"work pool {name}: {limit} runs at once")
        for number in range(gpus):
            client.upsert_global_concurrency_limit_by_name(f"stitchedit-gpu{number}", 1)
        client.upsert_global_concurrency_limit_by_name("stitchedit-cpu", 1)
        console.print(f"limits: stitchedit-cpu, stitchedit-gpu0 to {gpus - 1}: one stage at a time")
    words = {"STITCHEDIT_CATALOG": str(catalog), "STITCHEDIT_STORE": _absolute(store), "STITCHEDIT_CRON": cron}
    command = [
        sys.executable,
        "-m",
        "prefect",
        "--no-prompt",
        "deploy",
        "--all",
        "--prefect-file",
        "deploy/prefect.yaml",
    ]
    done = subprocess.run(
        command, cwd=DEPLOY.parent, env=os.environ | words, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InputError(f"`prefect deploy` failed:\n{(done.stdout + done.stderr)[-2000:]}")
    console.print(f"deployments: edit-video/on-demand, edit-catalog/nightly ({cron} UTC), prune/weekly, verify/weekly")
    for path in sorted((DEPLOY / "automations").glob("*.yaml")):
        wanted = AutomationCore.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        with get_client(sync_client=True) as client:
            for found in client.read_automations_by_name(wanted.name):
                client.delete_automation(found.id)
            client.create_automation(wanted)
        console.print(f"automation {wanted.name}")


def _absolute(store: str) -> str:
    return store if store.startswith("s3://") else str(Path(store or HERE).absolute())
