"""Consistency of the files in deploy/. Without Docker: the Dockerfile and compose.yaml are only parsed."""

import json
import re
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent

from flows.server.attempts import RUNS, TooManyCrashesError, begin
from flows.server.work_pools import job_template, make_pools, merged

DEPLOY = Path(__file__).parents[3] / "deploy"


def read(name):
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.mark.parametrize("deployment", read("prefect.yaml")["deployments"], ids=lambda one: one["entrypoint"])
def test_a_deployment_matches_the_parameters_of_its_flow(deployment):
    module, _, name = deployment["entrypoint"].rpartition(".")
    flow = getattr(import_module(module), name)
    assert isinstance(flow, Flow)
    assert set(deployment.get("parameters", {})) <= set(flow.parameters.properties)
    assert deployment["work_pool"]["name"] in {"cpu", "gpu"}


@pytest.mark.parametrize("path", sorted((DEPLOY / "automations").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_automation_is_valid(path):
    text = path.read_text().replace("$NOTIFY", str(uuid4()))
    assert AutomationCore.model_validate(yaml.safe_load(text)).name == path.stem


def event_of(state, *roles, message="gone"):
    """The event that Prefect sends when a run of edit-video enters a state, with its related resources."""
    related = [{"prefect.resource.id": f"x.{role}", "prefect.resource.role": role} for role in roles]
    flow = {"prefect.resource.id": "x.flow", "prefect.resource.role": "flow", "prefect.resource.name": "edit-video"}
    run = {"prefect.resource.id": f"prefect.flow-run.{uuid4()}", "prefect.state-message": message}
    fields = {"event": f"prefect.flow-run.{state}", "occurred": datetime.now(UTC), "id": uuid4(), "resource": run}
    return ReceivedEvent.model_validate({**fields, "related": [flow, *related], "received": datetime.now(UTC)})


def trigger(name):
    definition = yaml.safe_load((DEPLOY / "automations" / f"{name}.yaml").read_text())["trigger"]
    return EventTrigger.model_validate(definition)


def test_only_runs_of_a_deployment_are_rescheduled():
    assert trigger("crashed-runs-go-on").covers(event_of("Crashed", "deployment", "work-pool"))
    assert not trigger("crashed-runs-go-on").covers(event_of("Crashed"))


def test_an_abandoned_run_is_notified_and_a_failed_one_is_not(monkeypatch):
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__RUN_COUNT", str(RUNS + 1))
    with pytest.raises(TooManyCrashesError) as error:
        begin()
    message = f"Flow run encountered an exception: TooManyCrashesError: {error.value}"
    assert trigger("given-up-runs-are-told").covers(event_of("Failed", "deployment", message=message))
    assert not trigger("given-up-runs-are-told").covers(
        event_of("Failed", "deployment", message="No face in 2 of 4 frames.")
    )


def test_every_variable_of_compose_is_in_the_example():
    wanted = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))
    given = set(re.findall(r"^(\w+)=", (DEPLOY / "example.env").read_text(), re.MULTILINE))
    assert wanted == given


def test_the_dockerfile_of_compose_copies_existing_files():
    services = read("compose.yaml")["services"]
    built = [service for service in services.values() if "build" in service]
    assert {(service["image"], service["build"]["dockerfile"]) for service in built} == {
        ("stitchedit", "deploy/Dockerfile")
    }
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            for source in line.split()[1:-1]:
                assert (DEPLOY.parent / source).exists(), line


def test_no_password_is_copied_into_the_image():
    ignored = (DEPLOY.parent / ".dockerignore").read_text().splitlines()
    assert {"**/.env", ".git", ".venv"} <= set(ignored)
    copied = [
        line.split()[1:-1] for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line.startswith("COPY")
    ]
    assert not set(ignored) & {source for sources in copied for source in sources}


@pytest.mark.parametrize("kind", ["process", "docker", "kubernetes"])
def test_a_pool_of_every_type_takes_the_image_and_a_gpu(prefect_server, kind):
    image = None if kind == "process" else "registry/stitchedit:1"
    names = {"cpu": f"cpu-{kind}", "gpu": f"gpu-{kind}"}
    with get_client(sync_client=True) as client:
        for pool, name in names.items():
            client.create_work_pool(
                WorkPoolCreate(name=name, type=kind, base_job_template=job_template(client, kind, pool, image))
            )
        made = {pool: client.read_work_pool(name).base_job_template for pool, name in names.items()}
    for template in made.values():
        assert template["variables"]["properties"].get("image", {}).get("default") == image
    assert ("nvidia" in json.dumps(made["gpu"])) == (kind != "process")
    assert "nvidia" not in json.dumps(made["cpu"])


def test_updating_pools_changes_their_limit_only(prefect_server):
    with get_client(sync_client=True) as client:
        make_pools(client, {"again": 2})
        before = client.read_work_pool("again")
        assert make_pools(client, {"again": 3}) == ["work pool again (process): 3 runs at once"]
        after = client.read_work_pool("again")
    assert (before.concurrency_limit, after.concurrency_limit) == (2, 3)
    assert before.base_job_template == after.base_job_template


def test_merging_into_a_template_keeps_other_values():
    base = {"containers": [{"name": "job", "limits": {"cpu": 1}}], "kind": "Job"}
    over = {"containers": [{"limits": {"gpu": 1}}]}
    assert merged(base, over) == {"containers": [{"name": "job", "limits": {"cpu": 1, "gpu": 1}}], "kind": "Job"}
