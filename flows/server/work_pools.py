"""Work pools `cpu` and `gpu` of processes, Docker containers or Kubernetes jobs."""

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
    """Create or update a work pool for each name in `limits`, with that many concurrent runs.

    An existing pool of another type keeps its type and template: Prefect cannot change the type.
    """
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate  # noqa: PLC0415
    from prefect.exceptions import ObjectNotFound  # noqa: PLC0415

    lines = []
    for name, limit in limits.items():
        template = job_template(client, kind, name, image)
        try:
            found = client.read_work_pool(name)
            kept = found.base_job_template if found.type != kind else template
            client.update_work_pool(name, WorkPoolUpdate(concurrency_limit=limit, base_job_template=kept))
            kind_of = found.type
        except ObjectNotFound:
            pool = WorkPoolCreate(name=name, type=kind, concurrency_limit=limit, base_job_template=template)
            client.create_work_pool(pool)
            kind_of = kind
        lines.append(f"work pool {name} ({kind_of}): {limit} runs at once")
    return lines


def job_template(client: "SyncPrefectClient", kind: PoolType, pool: str, image: str | None) -> dict[str, Any]:
    """Prefect's job template for a type of pool, with the settings of deploy/pools merged in."""
    known = client.request("GET", "/collections/views/{view}", path_params={"view": "aggregate-worker-metadata"}).json()
    workers: dict[str, Any] = {name: worker for package in known.values() for name, worker in package.items()}
    template: dict[str, Any] = workers[kind]["default_base_job_configuration"]
    path = POOLS / f"{kind}.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    defaults = {**settings.get("every", {}), **settings.get(pool, {}), **({"image": image} if image else {})}
    for name, value in defaults.items():
        template["variables"]["properties"][name]["default"] = value
    template["job_configuration"] = merged(template["job_configuration"], settings.get("fixed", {}).get(pool, {}))
    return template


def merged(base: Any, over: Any) -> Any:
    """Merge `over` into `base`: mappings by key, lists by index."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{name: merged(base.get(name), value) for name, value in over.items()}}
    if isinstance(base, list) and isinstance(over, list):
        common = [merged(old, new) for old, new in zip(base, over, strict=False)]
        return [*common, *base[len(common) :], *over[len(common) :]]
    return over
