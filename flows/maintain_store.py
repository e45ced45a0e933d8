"""The flows `prune` and `verify`: scheduled maintenance of a store."""

import time
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.states import Completed, Failed

from flows.requests.store_parts import chosen_artifacts, examined_files, opened_store, prune_rule
from storage.prune import plan_prune
from storage.prune import prune as remove


@flow(name="prune", persist_result=False)
def prune_store(  # noqa: PLR0913, PLR0917 - the fields of a form
    store: str,
    scratch: Path | None = None,
    keep_last: int | None = 3,
    older_than: str | None = None,
    max_size: str | None = None,
    dry_run: bool = False,
) -> Any:
    """Free space by removing artifacts that only old runs need, as `stitchedit prune` does."""
    place = opened_store(store, scratch)
    plan = plan_prune(place, prune_rule(keep_last, older_than, max_size), time.time())
    freed = plan.freed_bytes if dry_run else remove(place, plan)
    verb = "Would free" if dry_run else "Freed"
    return Completed(message=f"{verb} {freed / 1e9:.2f} GB; {plan.kept_bytes / 1e9:.2f} GB are kept.")


@flow(name="verify", persist_result=False)
def verify_store(store: str, scratch: Path | None = None, repair: bool = True) -> Any:
    """Compare every file of a store with its SHA-256, as `stitchedit verify` does; fail if one is damaged.

    With `repair`, damage is recorded, so that the next run recomputes the damaged parts only.
    """
    artifacts, damaged = chosen_artifacts(opened_store(store, scratch), []), []
    for artifact in artifacts:
        damaged += [one for one in examined_files(store, scratch, artifact, repair) if one.fault]
    if not damaged:
        return Completed(message=f"{len(artifacts)} artifacts are intact.")
    named = ", ".join(f"{one.artifact.stage}/{one.artifact.key} {one.file}" for one in damaged[:5])
    return Failed(message=f"{len(damaged)} files are damaged: {named}. {'They are recomputed when needed.' * repair}")
