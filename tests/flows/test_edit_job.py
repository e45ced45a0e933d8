"""A request is resolved once: its files are hashed and its options merged only once."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from configs import load
from flows import edit_job
from flows.catalog.jobs import Job, prepare_job
from flows.catalog.reading import open_catalog
from flows.catalog.request import CatalogRequest
from flows.cli.arguments import edit_job as job_of_arguments
from flows.cli.catalog import plan_catalog
from flows.edit_job import hand_over, resolve, take_over
from flows.edit_request import Edit, EditRequest
from storage import artifact
from storage.store import Store


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Calls of `load_config`, and of `file_sha256` by the name of the file."""
    counted: Counter[str] = Counter()
    digest, load_config = artifact.file_sha256, load.load_config

    def counted_digest(path: Path) -> str:
        counted[path.name] += 1
        return digest(path)

    def counted_load(preset: str, overrides: list[str]) -> object:
        counted["load_config"] += 1
        return load_config(preset, overrides)

    monkeypatch.setattr(artifact, "file_sha256", counted_digest)
    monkeypatch.setattr(edit_job, "load_config", counted_load)
    monkeypatch.setattr("storage.source_digests.SETTLED_NS", 0)
    return counted


@pytest.fixture
def own_clip(clip: Path, tmp_path: Path) -> Path:
    copied = Path(shutil.copy(clip, tmp_path / "take.mp4"))
    os.utime(copied, (1_700_000_000, 1_700_000_000))
    return copied


def request(clip: Path, folder: Path) -> EditRequest:
    return EditRequest(video=clip, edits=[Edit(direction="smile", strength=2)], store=str(folder / "store"))


def test_an_edit_reads_its_clip_and_its_options_once(own_clip: Path, tmp_path: Path, calls: Counter[str]) -> None:
    job = job_of_arguments(["smile=2"], None, video=own_clip, store=str(tmp_path / "store"))
    assert take_over(hand_over(job)) is job  # as the command line passes it to the flow
    assert calls == {"take.mp4": 1, "load_config": 1}


def test_the_next_edit_of_a_clip_does_not_hash_it(own_clip: Path, tmp_path: Path, calls: Counter[str]) -> None:
    resolve(request(own_clip, tmp_path))
    resolve(request(own_clip, tmp_path))
    assert calls["take.mp4"] == 1


def test_a_clip_of_a_catalog_is_hashed_once_by_both_processes(
    own_clip: Path, tmp_path: Path, calls: Counter[str]
) -> None:
    catalog = tmp_path / "night.yaml"
    entry = "{source: take.mp4, edits: {smile: 2}, output: '{stem}_out.mp4'}"
    catalog.write_text(f"catalog: night\nconsent_required: false\nclips: [{entry}]\n")
    catalog_request = CatalogRequest(catalog=catalog, store=str(tmp_path / "store"), device="cpu")
    opened = open_catalog(catalog, store=Store.at(tmp_path / "store"))
    job = prepare_job(opened.clips[0], opened, catalog_request, Store.at(tmp_path / "store"))
    assert isinstance(job, Job)
    resolve(job.request)  # as the child run does in its process
    assert calls["take.mp4"] == 1


def test_a_job_is_taken_over_once(own_clip: Path, tmp_path: Path) -> None:
    job = resolve(request(own_clip, tmp_path))
    handed = hand_over(job)
    assert take_over(handed) is job
    assert take_over(handed) is None


def test_a_job_is_not_taken_over_with_a_changed_request(own_clip: Path, tmp_path: Path) -> None:
    handed = hand_over(resolve(request(own_clip, tmp_path)))
    assert take_over(handed.model_copy(update={"preset": "draft"})) is None


def test_a_plan_of_a_catalog_leaves_the_store_untouched(own_clip: Path, tmp_path: Path, calls: Counter[str]) -> None:
    catalog = tmp_path / "night.yaml"
    entry = "{source: take.mp4, edits: {smile: 2}, output: '{stem}_out.mp4'}"
    catalog.write_text(f"catalog: night\nconsent_required: false\nclips: [{entry}]\n")
    plan_catalog(catalog, str(tmp_path / "store"), None, "cpu", as_json=True)
    assert calls["take.mp4"] == 1
    assert not (tmp_path / "store" / "sources").exists()
