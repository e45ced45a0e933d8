"""Output files of runs are recognised; other files are never overwritten."""

import os
from pathlib import Path

import pytest

from storage.artifact import Recipe, file_sha256
from storage.errors import DamagedError, UnwritableOutputError
from storage.outputs import KEPT, MARK, OutputRecord, Outputs
from storage.store import Store

RECIPE = Recipe("encode", 1, {}, {}, {}, "")


@pytest.fixture
def outputs(store: Store) -> Outputs:
    return Outputs(store)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A file of the store, to be copied."""
    path = tmp_path / "made.mp4"
    path.write_bytes(b"made")
    return path


def put(outputs: Outputs, source: Path, target: Path) -> None:
    outputs.put(source, target, file_sha256(source))


def test_files_written_by_a_run_may_be_overwritten(outputs: Outputs, made: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    put(outputs, made, target)
    assert outputs.foreign([target, tmp_path / "not there"]) == []

    made.write_bytes(b"recomputed")
    put(outputs, made, target)

    assert target.read_bytes() == b"recomputed"
    assert outputs.foreign([target]) == []


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_file_changed_since_is_foreign(outputs: Outputs, made: Path, tmp_path: Path, keep_time: bool) -> None:
    target = tmp_path / "out.mp4"
    put(outputs, made, target)
    before = target.stat()
    target.write_bytes(b"mine, and longer" if keep_time else b"mine")  # of the same length, at another time
    if keep_time:
        os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))

    with pytest.raises(UnwritableOutputError, match=r"out\.mp4: there already, and not as a run .* name another"):
        put(outputs, made, target)

    assert target.read_bytes().startswith(b"mine")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["made.mp4", "out.mp4"]


def test_a_touched_or_copied_file_is_recognised_by_its_bytes(outputs: Outputs, made: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    put(outputs, made, target)
    os.utime(target, (1, 1))
    assert outputs.foreign([target]) == []
    other = tmp_path / "other.mp4"
    other.write_bytes(target.read_bytes())  # under a name that no run wrote
    assert outputs.foreign([other]) == [other]


@pytest.mark.parametrize("kind", ["file", "folder", "link", "link to nothing"])
def test_any_other_existing_file_is_kept(outputs: Outputs, made: Path, tmp_path: Path, kind: str) -> None:
    target, mine = tmp_path / "out.mp4", tmp_path / "mine"
    mine.write_text("mine")
    if kind == "file":
        target.write_text("mine")
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to(mine if kind == "link" else tmp_path / "nowhere")

    with pytest.raises(UnwritableOutputError, match="there already"):
        put(outputs, made, target)

    assert mine.read_text() == "mine"
    assert target.is_symlink() == kind.startswith("link")


def test_a_link_in_place_of_a_written_file_is_not_followed(outputs: Outputs, made: Path, tmp_path: Path) -> None:
    target, copy = tmp_path / "out.mp4", tmp_path / "copy.mp4"
    put(outputs, made, target)
    target.rename(copy)
    target.symlink_to(copy)
    assert outputs.foreign([target]) == [target]


def test_an_unrecorded_file_with_the_bytes_of_an_artifact_is_ours(
    outputs: Outputs, store: Store, tmp_path: Path
) -> None:
    """Earlier versions wrote files without records."""
    store.make(RECIPE, lambda workspace: (workspace.path / "video.mp4").write_bytes(b"made"))
    target, other = tmp_path / "out.mp4", tmp_path / "other.mp4"
    target.write_bytes(b"made")
    other.write_bytes(b"mine")
    assert outputs.foreign([target, other]) == [other]

    put(outputs, other, tmp_path / "new.mp4")  # from now on every file is recorded
    assert outputs.foreign([target]) == []
    os.utime(target)
    assert outputs.foreign([target]) == [target]


def test_a_file_of_a_run_with_another_store_is_ours_until_it_changes(
    outputs: Outputs, made: Path, tmp_path: Path
) -> None:
    """For example the same command in another folder, or after the store was deleted."""
    target, another = tmp_path / "out.mp4", Outputs(Store.at(tmp_path / "another store"))
    try:
        os.setxattr(made, MARK, b"")
    except OSError:
        pytest.skip("the file system has no extended attributes")
    put(outputs, made, target)
    assert another.foreign([target]) == []
    kept = target.rename(tmp_path / "kept.mp4")  # the user keeps it
    assert another.foreign([kept]) == [kept]
    kept.rename(target)
    with target.open("ab") as file:  # in place, so that the mark is kept
        file.write(b"mine")
    assert another.foreign([target]) == [target]


def test_a_file_that_appears_during_writing_is_kept(
    outputs: Outputs, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, note = tmp_path / "out.mp4", Outputs._note

    def somebody_writes(self: Outputs, path: Path, written: OutputRecord) -> None:
        note(self, path, written)
        target.write_bytes(b"mine")

    monkeypatch.setattr(Outputs, "_note", somebody_writes)
    with pytest.raises(UnwritableOutputError, match="there already"):
        put(outputs, made, target)
    assert target.read_bytes() == b"mine"


def test_a_file_of_a_run_killed_before_the_rename_is_ours(
    outputs: Outputs, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(part: Path, path: Path) -> None:
        path.write_bytes(part.read_bytes())  # renamed, and then the process is killed
        raise KeyboardInterrupt

    monkeypatch.setattr("storage.outputs.rename_new", killed)
    with pytest.raises(KeyboardInterrupt):
        put(outputs, made, tmp_path / "out.mp4")
    assert outputs.foreign([tmp_path / "out.mp4"]) == []


def test_a_changed_source_is_not_copied(outputs: Outputs, made: Path, tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=r"made\.mp4 changed while it was copied"):
        outputs.put(made, tmp_path / "out.mp4", "0" * 64)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["made.mp4"]


def test_moved_files_are_recognised_under_the_new_name(outputs: Outputs, made: Path, tmp_path: Path) -> None:
    held, published = tmp_path / "held" / "out.mp4", tmp_path / "out.mp4"
    held.parent.mkdir()
    put(outputs, made, held)
    outputs.move({held: published, tmp_path / "gone": tmp_path / "nothing"})
    assert outputs.foreign([published]) == []
    assert (held.exists(), published.read_bytes()) == (False, b"made")


def test_nothing_is_moved_if_one_of_the_names_is_taken(outputs: Outputs, made: Path, tmp_path: Path) -> None:
    names = [(tmp_path / f"{name}", tmp_path / "to" / name) for name in "ab"]
    for old, _ in names:
        put(outputs, made, old)
    (tmp_path / "to").mkdir()
    names[1][1].write_text("mine")
    with pytest.raises(UnwritableOutputError, match="there already"):
        outputs.move(dict(names))
    assert [old.exists() for old, _ in names] == [True, True]
    assert names[1][1].read_text() == "mine"


def test_a_changed_file_stays_foreign_after_a_move(outputs: Outputs, made: Path, tmp_path: Path) -> None:
    held, published = tmp_path / "held.mp4", tmp_path / "out.mp4"
    put(outputs, made, held)
    held.write_bytes(b"retouched")
    outputs.move({held: published})
    assert published.read_bytes() == b"retouched"
    assert outputs.foreign([published]) == [published]


def test_files_are_recognised_through_a_linked_folder(outputs: Outputs, made: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    put(outputs, made, tmp_path / "link" / "caf\udce9.mp4")
    assert outputs.foreign([tmp_path / "real" / "caf\udce9.mp4"]) == []


def test_the_number_of_recorded_versions_is_limited(outputs: Outputs, made: Path, tmp_path: Path) -> None:
    for number in range(KEPT + 2):
        made.write_bytes(b"%d" % number)
        put(outputs, made, tmp_path / "out.mp4")
    assert len(outputs._known(tmp_path / "out.mp4")) == KEPT
