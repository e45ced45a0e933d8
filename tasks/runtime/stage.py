"""Prefect task of a stage.

A stage is a function that fills a folder: `align_faces(out: Workspace, clip: Artifact, options: AlignOptions)`. Made a
task by `@stage`, it is called with a store instead of a folder and gives an artifact. The store alone says what is done
(docs/decisions/0003): Prefect neither caches nor persists results.
"""

import inspect
import json
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, is_dataclass, replace
from functools import partial, wraps
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from stitchedit.errors import StitchEditError
from storage.artifact import Artifact, Recipe, Source
from storage.errors import DamagedError, LeaseLostError, StorageError, UnreachableStoreError
from storage.files import encodable
from storage.store import Store
from storage.workspace import Workspace
from tasks.runtime.code_digest import code_digest, code_digests, own_code
from tasks.runtime.device_slot import device_slot
from tasks.runtime.memory import release_freed_memory
from tasks.runtime.pretrained import pretrained
from tasks.runtime.progress import report_event
from tasks.runtime.row_reuse import find_earlier
from tasks.runtime.stage_names import ON_DEVICE

QUALITY = "quality.json"  # of an artifact: name -> number
REVISION = 1  # of all recipes; a higher number recomputes every stage
RETRY_DELAYS: list[float] = [10, 30, 90]  # s; a full disk or a store that is restarted may be fine by then
HARDWARE = {"device"}  # arguments that say where to compute, not what: they are in no key


def stage(*networks: str, by_row: str = "") -> Callable[[Callable[..., None]], Task[..., Any]]:
    """Make a Prefect task of a stage that uses `networks` (names of configs/pretrained.yaml).

    Args:
        by_row: an input whose rows affect the result row by row: the stage finds a result for another such input in
            `out.earlier`, and reuses the rows that do not change.
    """

    own_code()  # read at import: a file edited later is not the code that runs

    def decorate(function: Callable[..., None]) -> Task[..., Any]:
        name = function.__module__.rpartition(".")[2]

        @wraps(function)
        def run(store: Store, *args: Any, **kwargs: Any) -> Any:
            recipe = stage_recipe(function, networks, args, kwargs)
            done = store.find(recipe)
            if done:
                report_event(name, "cached", key=done.key)
                _report_quality(name, store, done)
                return Completed(name="Cached", data=done, message=f"{done.stage} {done.key} is in the store")

            def fill(out: Workspace) -> None:
                report_event(name, "started", resumed=out.resumed, key=recipe.key)
                earlier = find_earlier(store, recipe, by_row) if by_row else None
                _fill(replace(out, earlier=earlier), store, function, args, kwargs)

            try:
                with device_slot() if name in ON_DEVICE else nullcontext():
                    began = time.monotonic()
                    made = store.make(recipe, fill)
            except BaseException:
                report_event(name, "failed")
                raise
            report_event(name, "finished", key=made.key, seconds=time.monotonic() - began)
            _report_quality(name, store, made)
            return made

        run.describe = partial(stage_recipe, function, networks)  # type: ignore[attr-defined]
        run.__signature__ = _signature(function)  # type: ignore[attr-defined]
        return task(
            name=name,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=len(RETRY_DELAYS),
            retry_delay_seconds=RETRY_DELAYS,
            retry_condition_fn=_may_be_temporary,
        )(run)

    return decorate


def stage_recipe(
    function: Callable[..., None], networks: tuple[str, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Recipe:
    """Recipe of a stage called with `args`: everything that decides its result."""
    given = _given(function, args, kwargs)
    inputs = {name: value.digest for name, value in given.items() if isinstance(value, Artifact | Source)}
    plain = {name: value for name, value in given.items() if name not in inputs and name not in HARDWARE}
    options = {name: _deciding(value) for name, value in plain.items()}
    catalog = pretrained()
    return Recipe(
        stage=function.__module__.rpartition(".")[2],
        revision=REVISION,
        options=options,
        networks={network: catalog[network].sha256 for network in networks},
        inputs=inputs,
        code=code_digest(function),
    )


def _fill(
    out: Workspace, store: Store, function: Callable[..., None], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Call a stage with complete inputs, and record their origins.

    A file found damaged is removed from the store, so that the flow can recompute it.
    """
    given = _given(function, args, kwargs)
    artifacts = {name: value for name, value in given.items() if isinstance(value, Artifact)}
    sources = {name: value for name, value in given.items() if isinstance(value, Source)}
    homes = {name: _home(store, artifact) for name, artifact in artifacts.items()}
    frames = [homes[name].manifest(artifact)["lineage"].get("frames", 0) for name, artifact in artifacts.items()]
    origins = {name: {"stage": artifact.stage, "key": artifact.key} for name, artifact in artifacts.items()}
    origins |= {name: {"file": encodable(source.path)} for name, source in sources.items()}
    out.facts.update(inputs=origins, frames=max(frames, default=0), code=code_digests(function))
    try:
        for name, artifact in artifacts.items():
            homes[name].fetch(artifact)
        for source in sources.values():
            source.check()
        function(out, *args, **kwargs)
        for source in sources.values():  # or what was made of the one would be kept as the other's
            source.check()
    except DamagedError as error:
        if error.path is not None:
            store.report_damage(error.path)
        raise
    finally:
        release_freed_memory()


def _home(store: Store, artifact: Artifact) -> Store:
    """The store that an artifact is in; it is read where it is."""
    return store if artifact.store == store.folder else Store.at(artifact.store)


def _given(function: Callable[..., None], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Every argument of a stage by name, but for the folder; one artifact for each person as `name.0`, `name.1`, …"""
    bound = inspect.signature(function).bind(None, *args, **kwargs)  # None stands for the folder
    bound.apply_defaults()
    given: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:
        if isinstance(value, tuple) and all(isinstance(one, Artifact) for one in value):
            given |= {f"{name}.{index}": one for index, one in enumerate(value)}
        else:
            given[name] = value
    return given


def _report_quality(name: str, store: Store, made: Artifact) -> None:
    """Report the quality numbers of an artifact, if there are any."""
    stored = store.backend.objects.read(f"{made.stage}/{made.key}/{QUALITY}")
    if stored:
        report_event(name, "measured", **json.loads(stored.value))


def _deciding(value: Any) -> Any:
    """Options as a mapping, without those that decide nothing of the result."""
    if not is_dataclass(value) or isinstance(value, type):
        return value
    return {name: part for name, part in asdict(value).items() if name not in getattr(value, "decide_nothing", ())}


def _signature(function: Callable[..., None]) -> inspect.Signature:
    """That of `function` with the folder replaced by a store."""
    signature = inspect.signature(function)
    first, *rest = signature.parameters.values()
    return signature.replace(parameters=[first.replace(name="store", annotation=Store), *rest])


def _may_be_temporary(task: Any, run: Any, state: Any) -> bool:
    """True for errors that may be temporary: a full disk, a lost GPU or lease."""
    import torch  # noqa: PLC0415 - takes seconds, and `decode` starts without

    try:
        state.result()
    except (LeaseLostError, UnreachableStoreError):
        return True
    except (StitchEditError, StorageError, PermissionError):
        return False
    except (OSError, torch.cuda.OutOfMemoryError, torch.AcceleratorError):
        return True
    except BaseException:
        return False
    return False
