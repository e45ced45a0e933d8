"""Invalid manifests and links cannot affect anything outside of their artifact."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from storage.artifact import Artifact, Recipe
from storage.backends.bucket import Bucket
from storage.backends.lease import Patience
from storage.backends.mirror import kept_files
from storage.errors import DamagedError, IncompleteError, MismatchError, StorageError
from storage.manifest import MANIFEST, content_digest, is_inside, parse_manifest
from storage.prune import PruneRule, plan_prune, prune
from storage.runs import recorded
from storage.store import Store
from storage.verify import verify_files
from storage.workspace import Workspace

RECIPE = Recipe("align", 1, {}, {}, {"clip": "ab"}, "")
OUTSIDE = ["../evil", "../../evil", "deep/../../../evil", "/evil", "", "a//b", "./a", "..", "manifest.json", "a\0b"]


def fill(workspace: Workspace) -> None:
    (workspace.path / "deep").mkdir(exist_ok=True)
    (workspace.path / "deep" / "kept").write_text("kept")
    (workspace.path / "report.txt").write_text("fine")


def forge(store: Store, made: Artifact, how: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest and recompute its digest, as another writer of the store could."""
    name = f"{made.stage}/{made.key}/{MANIFEST}"
    stored = store.backend.objects.read(name)
    assert stored is not None
    manifest = json.loads(stored.value)
    how(manifest)
    manifest["digest"] = content_digest(manifest["files"])
    store.backend.objects.write(name, json.dumps(manifest).encode())


def listed(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": sha256(content).hexdigest()}


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_outside_are_recognised(name: str) -> None:
    assert is_inside(name) == (name == MANIFEST)


@pytest.mark.parametrize("name", ["../evil", "../../evil", "{outside}/evil"])
def test_nothing_outside_of_an_artifact_is_read_or_removed(store: Store, tmp_path: Path, name: str) -> None:
    made = store.make(RECIPE, fill)
    places = [store.folder / "align" / "evil", store.folder / "evil", tmp_path / "outside" / "evil"]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("mine")
    name = name.format(outside=tmp_path / "outside")
    forge(store, made, lambda manifest: manifest["files"].update({name: listed(b"other")}))

    assert store.find(RECIPE) is None
    with pytest.raises(DamagedError, match="gone or unreadable"):
        store.fetch(made)
    assert store.report_damage(made.path / name) is None
    (found,) = verify_files(store, made)
    assert found.fault is not None
    assert "is no file of this artifact" in found.fault
    assert store.make(RECIPE, fill) == made  # all of it is recomputed

    assert [place.read_text() for place in places] == ["mine"] * 3


def test_a_workspace_with_an_invalid_manifest_is_emptied(store: Store, tmp_path: Path) -> None:
    """Regression: the recovery of a damaged artifact removed `../evil`."""
    made = store.make(RECIPE, fill)
    workspace = store.folder / "staging" / f"align-{RECIPE.key}.somebody"
    workspace.parent.mkdir(parents=True, exist_ok=True)
    made.path.rename(workspace)
    (store.folder / "staging" / "evil").write_text("mine")
    manifest = json.loads((workspace / MANIFEST).read_text() if (workspace / MANIFEST).exists() else "{}")
    manifest |= {"recipe": RECIPE.to_json(), "files": {"../evil": listed(b"x")}, "lineage": {}, "digest": "0" * 64}
    (workspace / MANIFEST).write_text(json.dumps(manifest))
    store.backend.remove("align", RECIPE.key)

    assert store.make(RECIPE, fill).digest == made.digest
    assert (store.folder / "staging" / "evil").read_text() == "mine"


def another_recipe(manifest: dict[str, Any]) -> None:
    manifest["recipe"]["options"] = {"sigma": 2}


def another_stage(manifest: dict[str, Any]) -> None:
    manifest["recipe"]["stage"] = "detect"


def no_sizes(manifest: dict[str, Any]) -> None:
    manifest["files"] = {name: {"sha256": listed["sha256"]} for name, listed in manifest["files"].items()}


def inputs_elsewhere(manifest: dict[str, Any]) -> None:
    manifest["lineage"]["inputs"] = {"clip": {"stage": "../..", "key": "x"}}


@pytest.mark.parametrize("how", [another_recipe, another_stage, no_sizes, inputs_elsewhere])
def test_an_artifact_with_an_invalid_manifest_is_recomputed(store: Store, how: Callable[..., None]) -> None:
    made = store.make(RECIPE, fill)
    forge(store, made, how)
    assert store.find(RECIPE) is None
    assert list(store.artifacts()) == []
    assert store.make(RECIPE, fill) == made


def test_a_deeply_nested_manifest_is_rejected() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        parse_manifest(b"[" * 100_000, "align", RECIPE.key)


def test_a_ticket_is_only_valid_for_the_content_it_was_issued_for(store: Store) -> None:
    made = store.make(RECIPE, fill)
    (made.path / "report.txt").write_bytes(b"evil")
    with pytest.raises(DamagedError, match=r"report\.txt is damaged"):
        Store(store.backend).fetch(made)

    if not isinstance(store.backend, Bucket):  # whose local copy is intact
        forge(store, made, lambda manifest: manifest["files"].update({"report.txt": listed(b"evil")}))
        with pytest.raises(MismatchError, match="recomputed with other content"):
            store.fetch(made)


def test_a_link_in_an_artifact_counts_as_a_missing_file(store: Store, tmp_path: Path) -> None:
    made = store.make(RECIPE, fill)
    (tmp_path / "secret").write_text("fine")
    (made.path / "report.txt").unlink()
    (made.path / "report.txt").symlink_to(tmp_path / "secret")
    if isinstance(store.backend, Bucket):  # downloaded again
        store.fetch(made)
        assert not (made.path / "report.txt").is_symlink()
        return
    assert store.find(RECIPE) is None
    with pytest.raises(DamagedError, match="found no file"):
        store.fetch(made)
    assert [file.fault for file in verify_files(store, made) if file.fault] == ["a link, which is not followed"]


def test_a_link_to_a_folder_is_not_followed_and_its_content_stays(tmp_path: Path) -> None:
    store, mine = Store.at(tmp_path / "store"), tmp_path / "mine"
    made = store.make(RECIPE, fill)
    made.path.parent.rename(mine)
    made.path.parent.symlink_to(mine)

    assert store.backend.finished() == []
    with pytest.raises(StorageError, match=r"is not below .*store for sure"):
        store.backend.remove("align", RECIPE.key)
    plan = plan_prune(store, PruneRule(older_than_s=0), now=1e12)
    assert plan.goes == ()
    prune(store, plan)
    assert (mine / RECIPE.key / "report.txt").read_text() == "fine"


def test_links_in_a_workspace_are_removed_and_rejected_in_a_result(tmp_path: Path) -> None:
    store, secret = Store(Store.at(tmp_path / "store").backend, Patience(poll=0.05)), tmp_path / "secret"
    secret.write_text("mine")
    workspace = store.folder / "staging" / f"align-{RECIPE.key}.somebody"
    workspace.mkdir(parents=True)
    (workspace / ".started").touch()
    (workspace / "report.txt").symlink_to(secret)

    def stop(workspace: Workspace) -> None:
        assert not (workspace.path / "report.txt").is_symlink()
        (workspace.path / "again").symlink_to(secret)
        (workspace.path / "report.txt").write_text("fine")

    with pytest.raises(IncompleteError, match=r"again in .* was a link"):
        store.make(RECIPE, stop)
    assert secret.read_text() == "mine"


def test_the_mirror_of_a_bucket_does_not_upload_links(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("private")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "report.txt").write_text("fine")
    (workspace / "link").symlink_to(tmp_path / "key")
    assert [path.name for path in kept_files(workspace)] == ["report.txt"]


@pytest.mark.parametrize(
    "copies",
    [
        {"../../evil": "partial/align-{key}/x/000001"},
        {"evil": "runs/somebody.json"},
        {"evil": "partial/align-{key}/../../runs/x"},
    ],
)
def test_copies_outside_of_the_artifacts_prefixes_are_ignored(
    s3_url: str, tmp_path: Path, copies: dict[str, str]
) -> None:
    store = Store(Bucket(s3_url, tmp_path / "scratch"), Patience(poll=0.05))
    named = {name: {"at": at.format(key=RECIPE.key), **listed(b"evil")} for name, at in copies.items()}
    words = {"owner": None, "files": named, "by": "x"}
    for entry in named.values():
        if ".." not in entry["at"]:
            store.backend.objects.write(entry["at"], b"evil")
    store.backend.objects.write(f"leases/align-{RECIPE.key}.json", json.dumps(words).encode())

    assert store.backend.partial("align", RECIPE.key) is None
    store.make(RECIPE, fill)

    assert [path for path in tmp_path.rglob("*") if path.name == "evil"] == []


def test_names_that_are_not_artifacts_are_ignored(tmp_path: Path) -> None:
    """Regression: a key that is a glob pattern matched and removed other workspaces."""
    store = Store.at(tmp_path / "store")
    for name in ("[a-z]*-*.x", "align-0123.x", f"align-{RECIPE.key}.y"):
        (store.folder / "staging" / name).mkdir(parents=True)
    (store.folder / "align" / "mine").mkdir(parents=True)
    (store.folder / "align" / "mine" / MANIFEST).write_text("{}")
    assert [(stage, key) for stage, key, _ in store.backend.partial_artifacts()] == [("align", RECIPE.key)]
    assert store.backend.finished() == []


def test_invalid_records_of_runs_are_skipped(tmp_path: Path) -> None:
    from storage.runs import runs  # noqa: PLC0415

    store = Store.at(tmp_path / "store")
    with recorded(store, "a.mp4", "ab", "smile+2", {}):
        pass
    store.backend.objects.write("runs/deep.json", b"[" * 100_000)
    store.backend.objects.write("runs/list.json", b"[]")
    assert [run.clip for run in runs(store)] == ["a.mp4"]
