"""A folder that is watched, and into which the results go as well."""

from dataclasses import replace
from pathlib import Path

import pytest

from flows.catalog.jobs import current_outcome
from flows.catalog.outcomes import HELD, REVIEW, write_outcome
from flows.catalog.reading import OpenCatalog, open_catalog
from flows.catalog.request import CatalogRequest
from flows.requests.output_files import exported_files
from storage.store import Store


@pytest.fixture
def night(tmp_path):
    """`night(entries)` reads a catalog beside x.mp4 and y.webm with what the store knows of it."""
    for name in ("x.mp4", "y.webm"):
        (tmp_path / name).write_bytes(b"no video")
    store = Store.at(tmp_path / "store")

    def opened(entries: str) -> OpenCatalog:
        path = tmp_path / "night.yaml"
        path.write_text(
            f"catalog: night\nconsent_required: false\ndefaults: {{edits: {{smile: 2}}}}\nclips: {entries}\n"
        )
        return open_catalog(path, store=store)

    return opened


def names(opened: OpenCatalog) -> list[str]:
    return [clip.source.relative_to(opened.folder).as_posix() for clip in opened.clips]


def write_results(opened: OpenCatalog) -> None:
    """What a night leaves: of each clip the files of an edit, published or held."""
    store = Store.at(opened.folder / "store")
    request = CatalogRequest(catalog=opened.path, store=str(store.folder))
    for index, clip in enumerate(opened.clips):
        known = replace(current_outcome(clip, opened, request, store), state=HELD if index else REVIEW)
        for path in exported_files(known.place).values():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"result")
        write_outcome(store, opened.name, known)


@pytest.mark.parametrize("source", ["'*'", "'.'", "'*.mp4'", "'**/*.mp4'", "'{}/../*.mp4'"])
def test_a_night_does_not_edit_what_nights_before_wrote(night, tmp_path, source):
    entries = f"[{{source: {source.format(tmp_path / 'store')}}}]"
    (tmp_path / "store" / "encode" / "key").mkdir(parents=True)
    (tmp_path / "store" / "encode" / "key" / "video.mp4").write_bytes(b"of the store")
    first = names(night(entries))
    assert next(Path(name).name for name in first) == "x.mp4"
    for _ in range(2):
        write_results(night(entries))
        assert names(night(entries)) == first


def test_results_of_a_recipe_that_is_gone_are_known_too(night):
    write_results(night("[{source: '*.mp4', edits: {age: -3}}]"))
    assert names(night("[{source: '*.mp4'}]")) == ["x.mp4"]


def test_results_of_one_recipe_are_no_clips_of_another(night):
    write_results(night("[{source: '*.mp4'}]"))
    entries = "[{source: '*.mp4', edits: {age: 1}}, {source: '*.mp4', edits: {smile: 1}}]"
    assert names(night(entries)) == ["x.mp4", "x.mp4"]


def test_a_preview_of_a_single_edit_is_no_clip(night, tmp_path):
    for path in exported_files(tmp_path / "own.mp4").values():
        path.write_bytes(b"result")
    assert names(night("[{source: '*.mp4'}]")) == ["own.mp4", "x.mp4"]


def test_a_result_that_is_named_in_full_is_meant(night):
    write_results(night("[{source: x.mp4}]"))
    assert names(night("[{source: x_smile+2.mp4, edits: {age: 1}}]")) == ["x_smile+2.mp4"]
    assert Path(night("[{source: .}]").clips[0].source).name == "x.mp4"
