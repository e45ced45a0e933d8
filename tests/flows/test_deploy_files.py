"""The files of deploy/ name what is there. No Docker here: the image and compose.yaml are only read."""

import re
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from prefect import Flow
from prefect.events.schemas.automations import AutomationCore

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
