"""The work pools `cpu` and `gpu`: of processes, of Docker containers or of Kubernetes jobs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

if TYPE_CHECKING:  # it takes seconds
    from prefect.client.orchestration import SyncPrefectClient

POOLS = Path(__file__).parents[2] / "deploy" / "pools"
PoolType = Literal["process", "docker", "kubernetes"]


def make_pools(
    client: "SyncPrefectClient", limits: dict[str, int], kind: PoolType = "process", image: str | None = None
) -> list[str]:
    """Make or update a pool for each name of `limits`, with as many runs under way at once.

    A pool that is of another type stays as it is; Prefect refuses to change that.
    """
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate  # noqa: PLC0415
    from prefect.exceptions import ObjectNotFound  # noqa: PLC0415

    told = []
    for name, limit in limits.items():
        template = job_template(client, kind, name, image)
        try:
            found = client.read_work_pool(name)
            kept = found.base_job_template if found.type != kind else template
            client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit, base_job_template=kept))
            kind_of = found.type
        except ObjectNotFound:
            made = WorkPoolCreate(name=name, type=kind, concurrency_limit=limit, base_job_template=template)
            client.create_work_pool(made)
            kind_of = kind
        told.append(f"work pool {name} ({kind_of}): {limit} runs at once")
    return told


def job_template(client: "SyncPrefectClient", kind: PoolType, pool: str, image: str | None) -> dict[str, Any]:
    """Prefect's own template of a pool of that type, with what deploy/pools says over it."""
    known = client.request("GET", "/collections/views/{view}", path_params={"view": "aggregate-worker-metadata"}).json()
    workers: dict[str, Any] = {name: worker for package in known.values() for name, worker in package.items()}
    template: dict[str, Any] = workers[kind]["default_base_job_configuration"]
    path = POOLS / f"{kind}.yaml"
    words = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    defaults = {**words.get("every", {}), **words.get(pool, {}), **({"image": image} if image else {})}
    for name, value in defaults.items():
        template["variables"]["properties"][name]["default"] = value
    template["job_configuration"] = merged(template["job_configuration"], words.get("fixed", {}).get(pool, {}))
    return template


def merged(base: Any, over: Any) -> Any:
    """`over` laid upon `base`: mappings key by key, lists item by item."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{name: merged(base.get(name), value) for name, value in over.items()}}
    if isinstance(base, list) and isinstance(over, list):
        common = [merged(old, new) for old, new in zip(base, over, strict=False)]
        return [*common, *base[len(common) :], *over[len(common) :]]
    return over
