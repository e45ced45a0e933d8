"""Files that a catalog takes as clips, and the report of those it leaves out."""

import errno
import json
import os
import time
from pathlib import Path

import pytest

from flows.catalog.documents import CatalogError
from flows.catalog.reading import open_catalog
from flows.catalog.summary import summary_markdown, write_summary
from storage.store import Store


@pytest.fixture
def opened(tmp_path):
    """`opened(source, *files)` creates the files and reads a catalog of that source beside them."""

    def read(source, *files, folder=tmp_path):
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"no video")
        clip = {"source": source, "edits": {"smile": 2}, "output": "{folder}/{stem}_{edit}{suffix}"}
        content = {"catalog": "n", "consent_required": False, "clips": [clip]}
        (folder / "n.yaml").write_text(json.dumps(content))
        return open_catalog(folder / "n.yaml", store=Store.at(tmp_path / "store"))

    return read


def names(catalog):
    return [os.path.relpath(clip.source, catalog.folder) for clip in catalog.clips]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("Talk [dQw4w9WgXcQ].mp4", ["Talk [dQw4w9WgXcQ].mp4"]),
        ("[2025] shoot/*.mp4", ["[2025] shoot/y.mp4"]),
        ("[2025] shoot", ["[2025] shoot/y.mp4"]),
        ("*shoot/y.mp4", ["2 shoot/y.mp4", "[2025] shoot/y.mp4"]),
        ("**/[2025] shoot/*.mp4", ["[2025] shoot/y.mp4"]),
        ("[2-3] shoot/*.mp4", ["2 shoot/y.mp4"]),
        ("take[12].mp4", ["take1.mp4", "take2.mp4"]),
        ("what?.mp4", ["what?.mp4"]),
        ("who?.mp4", ["who1.mp4"]),
    ],
)
def test_an_existing_name_with_brackets_is_taken_literally(opened, source, found):
    files = ["Talk [dQw4w9WgXcQ].mp4", "Talk d.mp4", "[2025] shoot/y.mp4", "2 shoot/y.mp4", "take1.mp4", "take2.mp4"]
    assert names(opened(source, *files, "what?.mp4", "what1.mp4", "who1.mp4")) == found


@pytest.mark.parametrize("source", ["**/*.mp4", "*/*.mp4"])
def test_a_folder_without_read_permission_is_reported_and_the_others_are_searched(opened, monkeypatch, source):
    """Root may read every folder, so `os.listdir` and `os.stat` are patched to refuse as for other users."""

    def refusing(call, parts):
        def checked(path, *args, **options):
            if "closed" in Path(os.fsdecode(path)).parts[parts]:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return call(path, *args, **options)

        return checked

    files = ["a/x.mp4", "closed/in/y.mp4", "z/x.mp4"]
    opened(source, *files)
    monkeypatch.setattr(os, "listdir", refusing(os.listdir, slice(None)))
    monkeypatch.setattr(os, "stat", refusing(os.stat, slice(-1)))
    catalog = opened(source)
    assert names(catalog) == ["a/x.mp4", "z/x.mp4"]
    assert catalog.notes == ["left out, a folder without read permission: closed"]


def test_repeated_double_stars_are_as_fast_as_one(opened):
    files = [f"{a}/{b}/{c}/x.mp4" for a in "abcd" for b in "abcd" for c in "abcd"]
    assert names(opened("**/**/**/**/*.mp4", *files)) == sorted(files)


def test_a_catalog_may_be_in_a_folder_with_brackets(opened, tmp_path):
    inner = tmp_path / "[2025] shoot"
    inner.mkdir()
    assert names(opened("*.mp4", "y.mp4", folder=inner)) == ["y.mp4"]
    assert names(opened("**/*.mp4", "y.mp4", "in/[a]/z.mp4", folder=inner)) == ["in/[a]/z.mp4", "y.mp4"]


def test_a_missing_name_with_brackets_is_reported(opened):
    (note,) = opened("Talk [x].mp4").notes
    assert note.startswith("Talk [x].mp4 matches no clip now; without a file of that very name, [ ] match")


def test_every_video_in_a_folder_is_a_clip(opened):
    suffixes = (".MTS", ".m2ts", ".vob", ".3gp", ".ogv", ".asf", ".y4m", ".mp4", ".f4v")
    files = [f"clips/{number}{suffix}" for number, suffix in enumerate(suffixes)]
    assert set(names(opened("clips", *files))) == set(files)
    assert set(names(opened("clips/*", *files))) == set(files)


def test_files_left_out_are_reported_with_the_reason(opened):
    files = ["c.mp4", "sound.mp3", "list.m3u8", "list.ffconcat", "list.mpd", "notes.txt", "c.srt", "x.xyz", "table.dat"]
    catalog = opened("clips", *(f"clips/{name}" for name in (*files, ".hidden.mp4", ".DS_Store", "day1/d.mp4")))
    assert names(catalog) == ["clips/c.mp4"]
    reasons = {os.path.relpath(one.path, catalog.folder / "clips"): one.reason for one in catalog.left_out}
    assert sorted(reasons) == sorted([*files[1:], ".hidden.mp4", "day1"])
    assert all(reasons.values())
    (playlists,) = (note for note in catalog.notes if "playlist" in note)
    assert "clips/list.ffconcat, clips/list.m3u8, clips/list.mpd" in playlists
    page = write_summary(catalog, [], Store.at(catalog.folder / "store"))
    for text in (page.read_text(), summary_markdown(catalog, [], page)):
        assert "no clip but names others: clips/list.ffconcat" in text


def test_many_files_left_out_are_counted(opened):
    (note,) = opened("clips", *(f"clips/{number}.txt" for number in range(10))).notes[1:]
    assert note.endswith("clips/4.txt and 5 more")


def test_the_page_lists_all_files_left_out(opened):
    catalog = opened("clips", *(f"clips/{number}.txt" for number in range(10)))
    page = write_summary(catalog, [], Store.at(catalog.folder / "store")).read_text()
    assert "10 left out" in page
    assert "/clips/9.txt" in page


@pytest.mark.parametrize("name", ["list.m3u8", "LIST.FFCONCAT", "list.mpd"])
def test_a_named_playlist_is_refused(opened, name):
    with pytest.raises(CatalogError, match="is a playlist, which is no clip but names others"):
        opened(name, name)
    assert not opened(f"*{os.path.splitext(name)[1]}", name).clips  # noqa: PTH122 - of a pattern


def test_a_pattern_with_a_suffix_includes_that_suffix(opened):
    assert names(opened("*.xyz", "a.xyz")) == ["a.xyz"]


def test_a_cycle_of_links_ends(opened, tmp_path):
    deep = tmp_path / "deep"
    deep.mkdir()
    for name in "abc":
        (deep / name).symlink_to(deep)
    (tmp_path / "link").symlink_to(deep)
    began = time.process_time()
    assert names(opened("**/*.mp4", "deep/x.mp4")) == ["deep/x.mp4"]
    assert time.process_time() - began < 1


def test_a_video_named_like_a_preview_is_reported(opened):
    catalog = opened("*.mp4", "talk.mp4", "talk_preview.mp4")
    assert names(catalog) == ["talk.mp4"]
    assert any("talk_preview.mp4" in note and "give the full name" in note for note in catalog.notes)
