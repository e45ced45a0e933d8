"""Errors, records, artifacts and the process list contain no secrets."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import get_client

from flows.catalog.children import LocalChildren
from flows.catalog.reading import open_catalog
from flows.edit_request import Edit, EditRequest
from storage.backends.bucket_objects import BucketObjects
from storage.errors import StorageError
from storage.runs import recorded, runs
from storage.store import Store
from storage.video.remote_clips import RemoteClip, remote_clips

SECRET = "wJalrXUtnFEMI-K7MDENG"


@pytest.fixture(autouse=True)
def _secrets(monkeypatch):
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PREFECT_API_KEY", "STITCHEDIT_NOTIFY"):
        monkeypatch.setenv(name, SECRET)


def command(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *arguments], capture_output=True, text=True, check=False, timeout=300
    )
    return done.stdout + done.stderr


def test_a_child_run_has_no_secret_on_its_command_line(prefect_server, clip, tmp_path, monkeypatch):
    monkeypatch.delenv("PREFECT_API_KEY")  # or the client would use it
    request = EditRequest(video=clip, edits=[Edit(direction="smile", strength=1)], store=str(tmp_path / "store"))
    with get_client(sync_client=True) as client:
        child = LocalChildren(client, "slot").start(request, "a run", [])
        assert child.process is not None
        try:
            process = psutil.Process(child.process.pid)
            lines = [one.cmdline() for one in (process, *process.children(recursive=True), psutil.Process())]
            run = client.read_flow_run(child.flow_run)
        finally:
            child.process.kill()
            child.process.join()
    assert all(lines)
    assert SECRET not in str(lines)
    assert SECRET not in run.model_dump_json()
    assert run.parameters["request"]["video"] == str(clip)


def test_the_record_of_a_run_has_no_secret_in_its_error(tmp_path):
    store = Store.at(tmp_path / "store")
    with pytest.raises(OSError), recorded(store, "a.mp4", "digest", "smile+1", {}):  # noqa: PT011
        raise OSError(f"http://anna:{SECRET}@host?X-Amz-Signature=ab12 refuses {SECRET}")
    (run,) = runs(store)
    assert run.error == "OSError: http://***@host?X-Amz-Signature=*** refuses ***"


def test_doctor_and_command_line_errors_show_no_secret(tmp_path):
    output = command("doctor", "--json", "--store", str(tmp_path))
    assert "disk at" in output
    assert SECRET not in output
    output = command("store", "--store", f"s3://AKIAEXAMPLE:{SECRET}@bucket/prefix")
    assert "AWS_SECRET_ACCESS_KEY" in output
    assert SECRET not in output
    assert "AKIAEXAMPLE" not in output


def test_keys_in_an_address_are_refused_and_not_repeated(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    url = f"s3://AKIAEXAMPLE:{SECRET}@bucket/a.mp4"
    (tmp_path / "n.jsonl").write_text(json.dumps({"source": url, "edits": {"smile": 1}}))
    for attempt in (
        lambda: remote_clips(url),
        lambda: open_catalog(tmp_path / "n.jsonl"),
        lambda: BucketObjects(url).names(""),
    ):
        with pytest.raises(StorageError, match="Keys belong into") as caught:
            attempt()
        assert SECRET not in str(caught.value)
        assert "AKIAEXAMPLE" not in str(caught.value)


def test_the_password_of_an_endpoint_is_not_shown(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://anna:pass-word-of-anna@127.0.0.1:9")
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        BucketObjects("s3://bucket").names("")
    assert "pass-word-of-anna" not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", ["/etc/x.mp4", "../../x.mp4", "a/../../x.mp4", "a//b.mp4", "./x.mp4", "..", ""])
def test_the_copy_of_an_object_stays_in_its_folder(tmp_path, key):
    copy = RemoteClip(f"s3://bucket/{key}", 1, 1).copy_in(tmp_path)
    assert Path(os.path.normpath(copy)).is_relative_to(tmp_path / "sources" / "bucket")
