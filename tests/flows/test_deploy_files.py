"""The files of deploy/ name what is there. No Docker here: the image and compose.yaml are only read."""

import json
import re
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore

from flows.work_pools import job_template, make_pools, merged

DEPLOY = Path(__file__).parents[2] / "deploy"


def read(name):
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.mark.parametrize("deployment", read("prefect.yaml")["deployments"], ids=lambda one: one["entrypoint"])
def test_a_deployment_is_of_a_flow_with_these_parameters(deployment):
    module, _, name = deployment["entrypoint"].rpartition(".")
    flow = getattr(import_module(module), name)
    assert isinstance(flow, Flow)
    assert set(deployment.get("parameters", {})) <= set(flow.parameters.properties)
    assert deployment["work_pool"]["name"] in {"cpu", "gpu"}


@pytest.mark.parametrize("path", sorted((DEPLOY / "automations").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_automation_is_one(path):
    text = path.read_text().replace("$NOTIFY", str(uuid4()))
    assert AutomationCore.model_validate(yaml.safe_load(text)).name == path.stem


def test_everything_that_compose_wants_is_in_the_example():
    wanted = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))
    given = set(re.findall(r"^(\w+)=", (DEPLOY / "example.env").read_text(), re.MULTILINE))
    assert wanted == given


def test_compose_builds_from_a_dockerfile_that_copies_what_is_there():
    services = read("compose.yaml")["services"]
    built = [service["build"]["dockerfile"] for service in services.values() if "build" in service]
    assert set(built) == {"deploy/Dockerfile"}
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            for source in line.split()[1:-1]:
                assert (DEPLOY.parent / source).exists(), line


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


def test_making_pools_again_changes_their_limit_only(prefect_server):
    with get_client(sync_client=True) as client:
        make_pools(client, {"again": 2})
        before = client.read_work_pool("again")
        assert make_pools(client, {"again": 3}) == ["work pool again (process): 3 runs at once"]
        after = client.read_work_pool("again")
    assert (before.concurrency_limit, after.concurrency_limit) == (2, 3)
    assert before.base_job_template == after.base_job_template


def test_what_is_laid_over_a_template_keeps_the_rest():
    base = {"containers": [{"name": "job", "limits": {"cpu": 1}}], "kind": "Job"}
    over = {"containers": [{"limits": {"gpu": 1}}]}
    assert merged(base, over) == {"containers": [{"name": "job", "limits": {"cpu": 1, "gpu": 1}}], "kind": "Job"}
