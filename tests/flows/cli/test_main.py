"""Messages and exit codes of the command `stitchedit` for invalid input."""

import importlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import tasks.runtime.pretrained
from configs.load import load_config
from storage.artifact import file_sha256
from storage.weights.state_dict import load_tensors
from tasks.runtime import networks

SUCCESS, FAILED, INVALID = 0, 1, 2

# Root may write anywhere, so the command runs as user nobody, after a first run as root that imports all modules.
NOT_ROOT = """
import os, sys
from contextlib import suppress
from flows.cli.main import main

if os.geteuid() == 0:
    arguments = sys.argv
    sys.argv = [*arguments[:-1], "/no/such/folder/out.mp4"]
    with suppress(SystemExit):
        main()
    sys.argv = arguments
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
main()
"""


@pytest.fixture
def refused(stitchedit, clip, tmp_path):
    """`refused(*arguments)` returns the error of an `edit` that is refused, and asserts that no store is created."""

    def call(*arguments, video=clip, edits=("smile=+2",), output=tmp_path / "out.mp4"):
        flags = [part for edit in edits for part in ("--edit", edit)]
        code, out, err = stitchedit("edit", video, *arguments, *flags, "-o", output, "--store", tmp_path / "store")
        assert code == INVALID
        assert out == ""
        assert "Traceback" not in err
        assert not (tmp_path / "store").exists()
        return err

    return call


def test_no_such_file(refused, tmp_path):
    assert f"There is no file {tmp_path / 'gone.mp4'}" in refused(video=tmp_path / "gone.mp4")


def test_a_text_file_named_mp4(refused, tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("This is no video.\n" * 100)
    assert re.search(r"error: .*notes\.mp4.*(not a video|cannot be (read|opened|decoded))", refused(video=text))


def test_an_empty_file_and_a_folder(refused, tmp_path):
    (tmp_path / "empty.mp4").touch()
    assert "is empty (0 bytes)" in refused(video=tmp_path / "empty.mp4")
    assert "is a folder" in refused(video=tmp_path)


def test_an_unknown_direction_is_reported_with_the_nearest(refused):
    assert "No direction 'smiel'. Did you mean 'smile'?" in refused(edits=["smiel=2"])


def test_a_direction_without_a_similar_one_is_reported_with_all(refused):
    known = load_tensors(tasks.runtime.pretrained.pretrained()["directions"].locate())
    assert f"There are: {', '.join(sorted(known))}." in refused(edits=["xq=2"])


@pytest.mark.parametrize("strength", ["much", "nan", "inf", "2,5"])
def test_a_strength_that_is_not_a_number(refused, strength):
    assert f"Strength '{strength}' of edit 'smile' is not a number. Write it as in smile=+2." in refused(
        edits=[f"smile={strength}"]
    )


def test_an_edit_without_a_strength(refused):
    assert "Edit 'smile' is not NAME=STRENGTH, such as smile=+2." in refused(edits=["smile"])


def test_a_strength_beyond_the_limit(refused):
    assert "Strength of 'smile' is 40; it must lie within ±12 (edit.max_strength)" in refused(edits=["smile=40"])


def test_strengths_of_one_direction_add_up(refused):
    assert "Strength of 'smile' is 14;" in refused(edits=["smile=6", "smile=8"])


def test_no_edit_at_all(refused):
    assert "Give at least one, such as --edit smile=+2" in refused(edits=[])


def test_an_unknown_option_is_reported_with_the_nearest(refused):
    assert "No option 'stitch.stpes'. Did you mean 'stitch.steps'?" in refused("stitch.stpes=40")


def test_an_option_without_a_value(refused):
    assert "'stitch.steps' is not STAGE.OPTION=VALUE, such as stitch.steps=40." in refused("stitch.steps")


def test_an_option_of_another_type(refused):
    assert re.search(r"many.*(integer|Integer)", refused("stitch.steps=many"))


def test_an_option_out_of_range(refused):
    assert "stitch.learning_rate must be > 0, got -1.0" in refused("stitch.learning_rate=-1")


def test_an_unknown_preset(refused):
    assert "No preset 'drafft'. Did you mean 'draft'?" in refused("--preset", "drafft")


def test_a_range_that_ends_before_it_starts(refused):
    assert re.search(r"2 s.*1 s|1 s.*2 s", refused("--start", "2", "--end", "1"))


def test_a_flag_that_does_not_exist(stitchedit, clip):
    code, _, err = stitchedit("edit", clip, "--edti", "smile=2")
    assert code == INVALID
    assert "No such option: --edti" in err


def test_a_missing_output_folder(refused, tmp_path):
    assert f"{tmp_path / 'gone'}: no such folder for out.mp4" in refused(output=tmp_path / "gone" / "out.mp4")


def test_an_output_of_another_kind(refused, tmp_path):
    assert "cannot write .avi. Use one of .m4v, .mkv, .mov, .mp4." in refused(output=tmp_path / "out.avi")


def test_an_output_that_is_the_source(refused, clip):
    before = file_sha256(clip)
    assert "is the source itself. Give the result another name." in refused(output=clip)
    assert file_sha256(clip) == before


def test_an_output_folder_that_may_not_be_written_to(clip):
    with tempfile.TemporaryDirectory() as folder:
        video, locked = Path(folder) / "clip.mp4", Path(folder) / "locked"
        shutil.copyfile(clip, video)
        locked.mkdir()
        for path, mode in ((locked, 0o555), (Path(folder), 0o777), (video, 0o644)):
            path.chmod(mode)
        arguments = ["edit", video, "--edit", "smile=2", "--store", Path(folder) / "store", "-o", locked / "out.mp4"]
        command = [sys.executable, "-c", NOT_ROOT, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == INVALID, done.stderr
    assert f"{locked}: out.mp4 cannot be written there (Permission denied). Choose another folder." in done.stderr


def test_a_name_with_brackets_is_reported_literally(refused, tmp_path):
    assert "take[red].mp4" in refused(video=tmp_path / "take[red].mp4")


def test_a_clip_without_any_face(stitchedit, packaged, tmp_path, prefect_server):
    code, out, err = stitchedit(
        "edit", packaged("no_face.mp4"), "detect.backend=dlib", "--edit", "smile=2", "--end", "0.07",
        "-o", tmp_path / "out.mp4", "--store", tmp_path / "store",
    )  # fmt: skip
    assert code == INVALID
    assert re.search(r"error: No face", err)
    assert "Traceback" not in err + out
    assert not (tmp_path / "out.mp4").exists()


def test_a_network_file_that_was_altered(stitchedit, copied, monkeypatch):
    """The packaged list of networks, with directions in another package that differ in one byte."""
    package = copied.store.folder.parent / "altered_package"
    listed = tasks.runtime.pretrained.pretrained()["directions"]
    altered = package / listed.file
    altered.parent.mkdir(parents=True)
    (package / "__init__.py").touch()
    altered.write_bytes(listed.locate().read_bytes()[:-1] + b"!")
    entry = "\ndirections:\n  package: stitchedit==0.1.0\n  module: "
    text = tasks.runtime.pretrained.CATALOG.read_text()
    assert f"{entry}stitchedit\n" in text
    catalog = package / "pretrained.yaml"
    catalog.write_text(text.replace(f"{entry}stitchedit\n", f"{entry}altered_package\n"))
    monkeypatch.setattr(tasks.runtime.pretrained, "CATALOG", catalog)
    monkeypatch.syspath_prepend(package.parent)
    importlib.invalidate_caches()

    networks.directions.cache_clear()
    try:
        code, out, err = stitchedit(
            "edit", copied.request.video, *copied.request.options, "--edit", "smile=-1",
            "-o", copied.request.output, "--store", copied.request.store,
        )  # fmt: skip
    finally:
        networks.directions.cache_clear()

    assert code == FAILED
    assert f"{altered} is not the file that this version requires" in err
    assert f"Expected SHA-256 {listed.sha256}, found {file_sha256(altered)}" in err
    assert "Traceback" not in err + out
    assert not copied.request.output.exists()


def test_a_run_prints_a_table_of_its_stages(stitchedit, copied):
    code, out, err = stitchedit(
        "edit", copied.request.video, *copied.request.options, "--edit", "smile=+2",
        "-o", copied.request.output, "--store", copied.request.store,
    )  # fmt: skip
    assert code == SUCCESS
    for stage, artifact in copied.artifacts.items():
        assert re.search(rf"{stage} .*cached .*{artifact.key}", out), stage
    assert str(copied.request.output) in out
    assert err == ""


def test_standard_output_has_only_the_json_summary(stitchedit, copied):
    code, out, _ = stitchedit(
        "edit", copied.request.video, *copied.request.options, "--edit", "smile=+2", "--json",
        "-o", copied.request.output, "--store", copied.request.store,
    )  # fmt: skip
    summary = json.loads(out)
    assert code == SUCCESS
    assert summary["output"] == str(copied.request.output)
    assert {stage: (result["how"], result["key"]) for stage, result in summary["stages"].items()} == {
        stage: ("cached", artifact.key) for stage, artifact in copied.artifacts.items()
    }


def test_help_is_printed_without_arguments(stitchedit):
    _, out, err = stitchedit()
    assert "Edit faces in real videos" in out + err


def test_help_of_edit_shows_examples(stitchedit):
    code, out, _ = stitchedit("edit", "--help")
    assert code == SUCCESS
    assert "stitchedit edit interview.mp4 --edit age=-3 --edit smile=+1 -o younger.mp4" in " ".join(out.split())


def test_options_lists_every_option_with_the_presets_value(stitchedit):
    code, out, _ = stitchedit("options", "--preset", "draft")
    assert code == SUCCESS
    for stage, options in vars(load_config("draft")).items():
        for name, value in vars(options).items():
            assert re.search(rf"{stage}\.{name} +│ {re.escape(str(value))} ", out), name


def test_edits_lists_every_direction(stitchedit):
    code, out, _ = stitchedit("edits")
    assert code == SUCCESS
    known = load_tensors(tasks.runtime.pretrained.pretrained()["directions"].locate())
    assert all(name in out for name in known)
    assert {entry["name"] for entry in json.loads(stitchedit("edits", "--json")[1])} == set(known)


def test_doctor_reports_packages_devices_and_networks(stitchedit, tmp_path):
    code, out, _ = stitchedit("doctor", "--json", "--store", tmp_path)
    findings = {finding["what"]: finding for finding in json.loads(out)}
    assert code == (SUCCESS if all(finding["good"] for finding in findings.values()) else FAILED)
    assert {
        "python",
        "torch",
        "encoder libx264",
        "gpu",
        f"store {tmp_path}",
        *tasks.runtime.pretrained.pretrained(),
    } <= set(findings)
