"""Atomic writes that cannot be redirected by links."""

import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from storage.files import (
    NAME_BYTES,
    appearing,
    encodable,
    ffmpeg_name,
    fitted_name,
    name_bytes,
    remove_tree,
    rename_new,
    replacing,
    write_atomic,
)


def test_a_planted_link_is_not_written_through(tmp_path: Path) -> None:
    victim, target = tmp_path / "victim", tmp_path / "report.json"
    victim.write_text("mine")
    for name in (".report.json.part", f".report.json.{os.getpid()}.part"):
        (tmp_path / name).symlink_to(victim)
    target.symlink_to(victim)

    write_atomic(target, b"ours")

    assert (victim.read_text(), target.read_text(), target.is_symlink()) == ("mine", "ours", False)


def test_concurrent_writers_use_different_temporary_names(tmp_path: Path) -> None:
    with appearing(tmp_path / "video.mp4") as one, appearing(tmp_path / "video.mp4") as other:
        assert one != other
        assert {path.suffix for path in (one, other)} == {".part"}  # the mirror of a bucket skips these
        one.write_text("first")
        other.write_text("second")
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]


def test_an_existing_temporary_name_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.files.token_hex", lambda length: "0" * 16)
    planted = tmp_path / f".a.json.{'0' * 16}.part"
    planted.symlink_to(tmp_path / "victim")

    with pytest.raises(FileExistsError):
        write_atomic(tmp_path / "a.json", b"ours")

    assert planted.is_symlink()
    assert not (tmp_path / "victim").exists()


def test_an_error_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_atomic(target, b"before")
    with suppress(ZeroDivisionError), replacing(target) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.json": b"before"}


def test_the_file_mode_respects_the_umask(tmp_path: Path) -> None:
    words = "import os, sys; from pathlib import Path; from storage.files import write_atomic; os.umask(0o027)"
    command = f"{words}; write_atomic(Path(sys.argv[1]), b'x')"
    subprocess.run([sys.executable, "-c", command, tmp_path / "a"], check=True)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("there", ["file", "link to nothing"])
def test_rename_new_never_replaces_an_existing_file(tmp_path: Path, there: str) -> None:
    part, target = tmp_path / "part", tmp_path / "target"
    part.write_text("ours")
    if there == "file":
        target.write_text("theirs")
    else:
        target.symlink_to(tmp_path / "gone")
    with pytest.raises(FileExistsError):
        rename_new(part, target)
    assert part.read_text() == "ours"
    target.unlink()
    rename_new(part, target)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_removing_a_linked_folder_removes_only_the_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    remove_tree(tmp_path / "link")
    assert [path.name for path in tmp_path.rglob("*")] == ["elsewhere", "mine"]


@pytest.mark.parametrize("stem", ["take", "x" * 251, "ü" * 140, "caf\udce9" * 60])
def test_a_long_name_is_shortened_and_stays_unique(tmp_path: Path, stem: str) -> None:
    names = {fitted_name(one, "_preview.mp4") for one in (stem, stem + "a", stem + "b")}
    assert len(names) == 3
    assert max(map(name_bytes, names)) <= NAME_BYTES
    assert all(name.endswith("_preview.mp4") for name in names)
    for name in names:
        write_atomic(tmp_path / name, b"")  # also creates a temporary name


def test_a_colon_in_a_name_is_not_a_protocol_for_ffmpeg() -> None:
    assert ffmpeg_name(Path("take-12:30.mp4")) == "file:take-12:30.mp4"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("é.mp4", "é.mp4"), ("caf\udce9.mp4", r"caf\xe9.mp4"), ("\ud800.mp4", r"\ud800.mp4")],
)
def test_any_name_can_be_printed_and_sent(text: str, shown: str) -> None:
    assert encodable(text) == shown
    assert encodable(Path(text)).encode().decode() == shown
