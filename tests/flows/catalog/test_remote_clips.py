"""A catalog of clips in a bucket on a real S3 server."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from flows.catalog.documents import CatalogError
from flows.catalog.jobs import Job, current_outcome, pending_outcome, prepare_job
from flows.catalog.outcomes import WITH_RESULT, Outcome, write_outcome
from flows.catalog.reading import open_catalog
from flows.catalog.request import CatalogRequest
from flows.edit_catalog import CatalogRun, edit_catalog
from storage.backends.bucket_objects import BucketObjects
from storage.errors import UnreadableVideoError
from storage.video.remote_clips import fetch, remote_clips

TEXT = (
    "catalog: night\nconsent_required: false\ndefaults:\n  edits: {{smile: 2}}\n  options: {}\nclips:\n  - source: {}\n"
)


def catalog(folder: Path, source: str, options: list[str] | None = None) -> Path:
    path = folder / "night.yaml"
    path.write_text(TEXT.format(options or [], source))
    return path


@pytest.fixture
def bucket(s3_url, clip):
    """Address of a folder with a clip, a second clip in a subfolder, and a text file."""
    objects = BucketObjects(s3_url)
    objects.upload("phone.mp4", clip)
    objects.upload("deep/phone.mp4", clip)
    objects.write("notes.txt", b"no clip")
    return s3_url


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("phone.mp4", ["phone.mp4"]),
        ("", ["phone.mp4"]),
        ("*.mp4", ["phone.mp4"]),
        ("*/ph*.mp4", ["deep/phone.mp4"]),
        ("deep/", ["deep/phone.mp4"]),
        ("none/*.mp4", []),
    ],
)
def test_addresses_and_patterns_in_a_bucket_name_clips(bucket, tmp_path, named, found):
    opened = open_catalog(catalog(tmp_path, f"{bucket}/{named}"), tmp_path / "scratch")
    assert [clip.remote.url.removeprefix(f"{bucket}/") for clip in opened.clips] == found


def test_the_address_of_an_existing_object_with_brackets_is_taken_literally(s3_url, clip, tmp_path):
    objects = BucketObjects(s3_url)
    for name in ("[2025] shoot/Talk [x].mp4", "2 shoot/Talk x.mp4", "take1.mp4"):
        objects.upload(name, clip)

    def found(named):
        return [one.url.removeprefix(f"{s3_url}/") for one in remote_clips(f"{s3_url}/{named}")]

    assert found("[2025] shoot/Talk [x].mp4") == ["[2025] shoot/Talk [x].mp4"]
    assert found("[2025] shoot/*.mp4") == ["[2025] shoot/Talk [x].mp4"]
    assert found("take[12].mp4") == ["take1.mp4"]
    with pytest.raises(UnreadableVideoError, match="no object"):  # not another object that the pattern matches
        fetch(f"{s3_url}/take[12].mp4", tmp_path / "take.mp4")
    fetch(f"{s3_url}/[2025] shoot/Talk [x].mp4", tmp_path / "talk.mp4")
    assert (tmp_path / "talk.mp4").read_bytes() == clip.read_bytes()


def test_objects_left_out_are_reported(bucket, tmp_path):
    BucketObjects(bucket).write("list.m3u8", b"#EXTM3U")
    opened = open_catalog(catalog(tmp_path, f"{bucket}/"), tmp_path / "scratch")
    assert [clip.remote.url.removeprefix(f"{bucket}/") for clip in opened.clips] == ["phone.mp4"]
    assert {str(one.path) for one in opened.left_out} == {"list.m3u8", "notes.txt"}


def test_a_missing_object_is_reported_with_its_line(bucket, tmp_path):
    with pytest.raises(CatalogError, match=r"night.yaml:7: .*lost.mp4: there is no such object"):
        open_catalog(catalog(tmp_path, f"{bucket}/lost.mp4"))
    with pytest.raises(UnreadableVideoError, match="no object"):
        fetch(f"{bucket}/lost.mp4", tmp_path / "lost.mp4")


def test_a_copy_is_downloaded_once_and_again_after_the_object_changed(bucket, tmp_path, monkeypatch):
    copy, url = tmp_path / "copies" / "phone.mp4", f"{bucket}/phone.mp4"
    fetch(url, copy)
    assert (copy.stat().st_size, copy.stat().st_mtime_ns) == remote_clips(url)[0].file
    downloads = []
    with monkeypatch.context() as patched:
        patched.setattr(BucketObjects, "download", lambda *arguments: downloads.append(arguments))
        fetch(url, copy)
    assert not downloads

    BucketObjects(bucket).write("phone.mp4", b"another one")
    fetch(url, copy)
    assert copy.read_bytes() == b"another one"
    assert [path.name for path in copy.parent.iterdir()] == ["phone.mp4"]


def test_a_clip_in_a_bucket_is_edited_once_until_it_changes(bucket, clip, copied, tmp_path):
    path = catalog(tmp_path, f"{bucket}/phone.mp4", copied.request.options)
    fields = {"catalog": path, "store": copied.request.store, "scratch": tmp_path / "scratch", "device": "cpu"}
    request = CatalogRequest(**fields)
    assert edit_catalog(request, return_state=True).is_completed()

    def now():
        opened = open_catalog(path, request.scratch)
        return current_outcome(opened.clips[0], opened, request, request.open_store())

    assert now().state in WITH_RESULT
    assert now().place.exists()
    shutil.rmtree(tmp_path / "scratch")  # outcomes do not depend on local copies
    assert now().state in WITH_RESULT
    opened = open_catalog(path, request.scratch)
    assert isinstance(prepare_job(opened.clips[0], opened, request, request.open_store()), Outcome)
    assert not opened.clips[0].source.exists()
    time.sleep(1.1)  # modification times of the server have whole seconds
    BucketObjects(bucket).upload("phone.mp4", clip)
    assert now().state == "changed"


def test_an_outcome_is_found_without_a_copy_if_the_result_has_another_suffix(bucket, clip, tmp_path):
    BucketObjects(bucket).upload("phone.webm", clip)
    path = catalog(tmp_path, f"{bucket}/phone.webm")
    request = CatalogRequest(catalog=path, store=str(tmp_path / "store"), scratch=tmp_path / "scratch", device="cpu")
    opened = open_catalog(path, request.scratch)
    job = prepare_job(opened.clips[0], opened, request, request.open_store())
    assert isinstance(job, Job)
    assert job.request.output.suffix == ".mp4"
    write_outcome(request.open_store(), opened.name, replace(pending_outcome(job), error="lost"))
    shutil.rmtree(tmp_path / "scratch")
    assert current_outcome(opened.clips[0], opened, request, request.open_store()).error == "lost"


def test_urgent_clips_do_not_wait_for_the_download_of_the_others(bucket, clip, tmp_path):
    path = catalog(tmp_path, f"{bucket}/phone.mp4")
    entry = f"  - {{source: {bucket}/deep/phone.mp4, output: urgent.mp4, priority: 1}}\n"
    path.write_text(path.read_text() + entry)
    request = CatalogRequest(catalog=path, store=str(tmp_path / "store"), scratch=tmp_path / "scratch", device="cpu")
    opened = open_catalog(path, request.scratch)
    later, urgent = opened.clips
    batches = CatalogRun(opened, request, request.open_store()).jobs_by_priority(opened.clips, {})
    assert [job.clip for job in next(batches)] == [urgent]
    assert not later.source.exists()
    assert [job.clip for job in next(batches)] == [later]
    assert later.source.exists()
