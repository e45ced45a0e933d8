"""Files of the user are never overwritten; a conflict is reported before anything is computed."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY

from flows.catalog.documents import CatalogError
from flows.catalog.reading import open_catalog
from flows.catalog.request import CatalogRequest
from flows.catalog.summary import page_path
from flows.cli import main as cli
from flows.edit_job import resolve
from flows.edit_request import Edit, EditRequest, FaceEdits
from flows.requests.any_text import from_json, to_json
from flows.requests.export import export_result
from flows.requests.output_files import exported_files
from storage.errors import UnwritableOutputError
from storage.files import NAME_BYTES, name_bytes
from storage.outputs import Outputs
from storage.runs import read_run, runs
from storage.store import Store
from storage.weights.state_dict import save_tensors

SMILE = [Edit(direction="smile", strength=2)]
INVALID = 2


@pytest.fixture
def stitchedit(monkeypatch, capfd):
    """`stitchedit(*arguments)` returns the exit code and all output on one line."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["stitchedit", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        return code, " ".join("".join(capfd.readouterr()).split())

    return call


@pytest.fixture
def request_of(clip, tmp_path):
    """`request_of(video=…, output=…)` is a request with its clip in `tmp_path`."""
    shutil.copy(clip, tmp_path / "clip.mp4")

    def make(**fields):
        defaults = {"video": tmp_path / "clip.mp4", "edits": SMILE, "store": str(tmp_path / "store")}
        return EditRequest(**defaults | fields)

    return make


@pytest.mark.parametrize("command", ["edit", "plan"])
@pytest.mark.parametrize("kind", ["preview", "sheet", "report", "video"])
def test_a_file_that_no_run_wrote_is_not_overwritten(request_of, stitchedit, tmp_path, kind, command):
    mine = exported_files(tmp_path / "take.mp4")[kind]
    mine.write_text("mine")
    request = request_of()
    options = ("--edit", "smile=+2", "-o", tmp_path / "take.mp4", "--store", request.store)

    code, output = stitchedit(command, request.video, *options)

    assert code == INVALID
    assert f"{mine}: there already" in output
    assert "name another output with -o" in output
    assert mine.read_text() == "mine"
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("how", ["name", "link", "hard link"])
@pytest.mark.parametrize("kind", ["preview", "sheet", "video"])
def test_the_source_is_never_overwritten_under_any_name(request_of, tmp_path, kind, how):
    """Regression: `-o take.mp4` overwrote its source `take_preview.mp4`."""
    written = exported_files(tmp_path / "take.mp4")[kind]
    source, video = tmp_path / "clip.mp4", request_of().video
    if how == "name":
        source.rename(written)
        video = written
    elif how == "link":
        written.symlink_to(source)
    else:
        written.hardlink_to(source)
    with pytest.raises(UnwritableOutputError, match=f"{written.name}: (would be overwritten|is the source)"):
        resolve(request_of(video=video, output=tmp_path / "take.mp4"))


def test_photo_and_directions_are_never_overwritten_even_if_a_run_wrote_them(request_of, tmp_path, packaged):
    store, photo = Store.at(tmp_path / "store"), tmp_path / "take_sheet.png"
    source = tmp_path / "made.png"
    source.write_bytes(packaged("single_face.jpg").read_bytes())
    Outputs(store).write(photo, source.read_bytes())
    face = FaceEdits(face=str(photo), edits=SMILE)
    with pytest.raises(UnwritableOutputError, match=r"take_sheet\.png: would be overwritten, but is an input"):
        resolve(request_of(faces=[face], output=tmp_path / "take.mp4"))

    directions = tmp_path / "take_report.html"
    save_tensors(directions, {"grin": np.zeros((16, 512), np.float32)}, {})
    options = [f"edit.directions={directions}"]
    with pytest.raises(UnwritableOutputError, match=r"take_report\.html: would be overwritten"):
        resolve(request_of(options=options, output=tmp_path / "take.mp4"))


def test_a_held_result_overwrites_no_file_of_the_user(request_of, tmp_path):
    held = tmp_path / "held"
    held.mkdir()
    (held / "take_sheet.png").write_text("mine")
    with pytest.raises(UnwritableOutputError, match=r"held/take_sheet\.png: there already"):
        resolve(request_of(output=tmp_path / "take.mp4", hold=held))


@pytest.mark.parametrize("hold", ["file", "file/deep"])
def test_an_invalid_folder_for_held_results_is_reported(request_of, tmp_path, hold):
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableOutputError, match=r"cannot hold a result, because of .*file: it is no folder"):
        resolve(request_of(output=tmp_path / "take.mp4", hold=tmp_path / hold))


def test_a_run_overwrites_its_own_files_unless_they_were_changed(copied, edit_once):
    edit_once(copied.request)
    folder, store = copied.request.output.parent, copied.store
    (run,) = [run for run in runs(store) if run.written and run.written[0]["path"] == str(copied.request.output)]
    assert [Path(file["path"]) for file in run.written] == list(exported_files(copied.request.output).values())
    store.backend.objects.remove(f"runs/{run.name}.json")  # pruned

    assert resolve(copied.request).output == copied.request.output
    edit_once(copied.request)

    (folder / "out_sheet.png").write_text("mine")
    with pytest.raises(UnwritableOutputError, match=r"out_sheet\.png: there already"):
        resolve(copied.request)
    with pytest.raises(UnwritableOutputError, match=r"out_sheet\.png: there already"):  # changed during a run
        export_result(store, copied.artifacts["encode"], copied.artifacts["report"], copied.request.output)
    assert (folder / "out_sheet.png").read_text() == "mine"
    assert read_run(store, run.name) is None


def test_links_beside_the_result_are_not_followed(copied, edit_once, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for path in exported_files(copied.request.output).values():
        path.with_name(f".{path.name}.part").symlink_to(victim)
    edit_once(copied.request)
    assert victim.read_text() == "mine"


def test_two_clips_of_a_catalog_do_not_share_a_preview(clip, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(clip, tmp_path / name)
    entries = [
        {"source": "a.mp4", "edits": {"smile": 1}, "output": "take.mp4"},
        {"source": "b.mp4", "edits": {"smile": 1}, "output": "take.mkv"},
    ]
    path = tmp_path / "night.yaml"
    path.write_text(json.dumps({"catalog": "night", "consent_required": False, "clips": entries}))
    with pytest.raises(CatalogError, match=r"b\.mp4: line 1 writes take too"):
        open_catalog(path)


def test_the_page_of_a_catalog_takes_the_next_free_name(tmp_path):
    (tmp_path / "night.yaml").write_text("catalog: night\nconsent_required: false\nclips: []\n")
    (tmp_path / "night_summary.html").write_text("mine")
    opened, store = open_catalog(tmp_path / "night.yaml"), Store.at(tmp_path / "store")
    page = page_path(opened, store)
    assert page == tmp_path / "night_summary-2.html"
    Outputs(store).write(page, b"ours")
    assert page_path(opened, store) == page


@pytest.mark.parametrize("stem", ["x" * 240, "x" * 251, "ü" * 120])
def test_a_long_default_name_is_truncated(request_of, clip, tmp_path, stem):
    video = tmp_path / f"{stem}.mp4"
    shutil.copy(clip, video)
    files = exported_files(resolve(request_of(video=video)).output).values()
    assert len(set(files)) == 4
    assert max(name_bytes(path.name) for path in files) <= NAME_BYTES
    assert all(path.name.startswith(stem[:100]) for path in files)


@pytest.mark.parametrize("output", ["x" * 252 + ".mp4", "ü" * 126 + ".mp4", "deep/" * 900 + "x.mp4", "a\0b.mp4"])
def test_a_name_too_long_for_the_disk_is_refused(request_of, tmp_path, output):
    with pytest.raises(UnwritableOutputError, match=r"bytes, and the (disk|system) takes|zero byte"):
        resolve(request_of(output=tmp_path / output))


def test_a_clip_with_a_name_too_long_is_reported_in_one_line(stitchedit, tmp_path):
    code, output = stitchedit("edit", tmp_path / ("x" * 300 + ".mp4"), "--edit", "smile=+2", "--store", tmp_path / "s")
    assert code == INVALID
    assert "File name too long" in output


@pytest.mark.parametrize("command", ["edit", "store", "verify", "why", "run", "status"])
@pytest.mark.parametrize("store", ["", "gs://bucket/x"])
def test_an_invalid_store_is_refused_by_every_command(request_of, stitchedit, tmp_path, monkeypatch, command, store):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "night.yaml").write_text("catalog: night\nconsent_required: false\nclips: []\n")
    arguments = {"edit": (request_of().video, "--edit", "smile=+2"), "why": ("encode",)}
    arguments |= dict.fromkeys(("run", "status"), ("night.yaml",))
    code, output = stitchedit(command, *arguments.get(command, ()), "--store", store)
    assert code == INVALID
    assert "s3://bucket/prefix" in output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "night.yaml"]
    with pytest.raises(ValueError, match="s3://bucket/prefix"):
        CatalogRequest(catalog=tmp_path / "night.yaml", store=store)


def test_a_bucket_without_keys_is_refused_before_anything_is_computed(request_of, stitchedit, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    code, output = stitchedit("edit", request_of().video, "--edit", "smile=+2", "--store", "s3://bucket/x")
    assert code == INVALID
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY not set" in output
    assert "169.254" not in output


@pytest.mark.parametrize("name", ["plain.mp4", "caf\udce9 100%.mp4", "percent:caf%E9", "ü/\udcff"])
def test_any_path_survives_a_round_trip_through_json(name):
    text = json.loads(json.dumps(to_json(name)).encode())
    assert from_json(text) == name
    assert text.isascii() or text == name


def test_a_clip_with_a_colon_and_bytes_that_are_not_utf_8_is_edited(clip, tmp_path, edit_once, monkeypatch):
    """Regression: FFmpeg took `take-12` for a protocol, and Prefect's API accepts UTF-8 only."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415

    monkeypatch.chdir(tmp_path)
    video = Path("take-12:30 caf\udce9.mp4")
    shutil.copy(clip, video)

    result = edit_once(EditRequest(video=video, edits=SMILE, store="store:1", options=TINY))

    assert result.output == Path("take-12:30 caf\udce9_smile+2.mp4")
    assert all(path.exists() for path in exported_files(result.output).values())
    page = exported_files(result.output)["report"].read_text(encoding="utf-8")
    assert r"take-12:30 caf\xe9.mp4" in page
    with get_client(sync_client=True) as client:
        parameters = client.read_flow_run(result.flow_run).parameters
    assert parameters["request"]["video"] == "percent:take-12:30 caf%E9.mp4"
    assert EditRequest.model_validate(parameters["request"]).video == video
    (run,) = runs(result.store)
    assert (run.state, Path(run.clip).name) == ("completed", r"take-12:30 caf\xe9.mp4")
