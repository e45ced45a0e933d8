"""A watched folder that results are written into as well."""

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
def opened(tmp_path):
    """`opened(entries)` reads a catalog beside x.mp4 and y.webm, with the outcomes in its store."""
    for name in ("x.mp4", "y.webm"):
        (tmp_path / name).write_bytes(b"no video")
    store = Store.at(tmp_path / "store")

    def read(entries: str) -> OpenCatalog:
        path = tmp_path / "night.yaml"
        path.write_text(
            f"catalog: night\nconsent_required: false\ndefaults: {{edits: {{smile: 2}}}}\nclips: {entries}\n"
        )
        return open_catalog(path, store=store)

    return read


def names(catalog: OpenCatalog) -> list[str]:
    return [clip.source.relative_to(catalog.folder).as_posix() for clip in catalog.clips]


def write_results(catalog: OpenCatalog) -> None:
    """Write the files of a run: the results of each clip, published or held."""
    store = Store.at(catalog.folder / "store")
    request = CatalogRequest(catalog=catalog.path, store=str(store.folder))
    for index, clip in enumerate(catalog.clips):
        outcome = replace(current_outcome(clip, catalog, request, store), state=HELD if index else REVIEW)
        for path in exported_files(outcome.place).values():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"result")
        write_outcome(store, catalog.name, outcome)


@pytest.mark.parametrize("source", ["'*'", "'.'", "'*.mp4'", "'**/*.mp4'", "'{}/../*.mp4'"])
def test_a_run_does_not_edit_results_of_earlier_runs(opened, tmp_path, source):
    entries = f"[{{source: {source.format(tmp_path / 'store')}}}]"
    (tmp_path / "store" / "encode" / "key").mkdir(parents=True)
    (tmp_path / "store" / "encode" / "key" / "video.mp4").write_bytes(b"of the store")
    first = names(opened(entries))
    assert next(Path(name).name for name in first) == "x.mp4"
    for _ in range(2):
        write_results(opened(entries))
        assert names(opened(entries)) == first


def test_results_of_a_removed_recipe_are_not_clips(opened):
    write_results(opened("[{source: '*.mp4', edits: {age: -3}}]"))
    assert names(opened("[{source: '*.mp4'}]")) == ["x.mp4"]


def test_results_of_one_recipe_are_not_clips_of_another(opened):
    write_results(opened("[{source: '*.mp4'}]"))
    entries = "[{source: '*.mp4', edits: {age: 1}}, {source: '*.mp4', edits: {smile: 1}}]"
    assert names(opened(entries)) == ["x.mp4", "x.mp4"]


def test_a_preview_of_a_single_edit_is_not_a_clip(opened, tmp_path):
    for path in exported_files(tmp_path / "own.mp4").values():
        path.write_bytes(b"result")
    assert names(opened("[{source: '*.mp4'}]")) == ["own.mp4", "x.mp4"]


def test_a_result_named_in_full_is_a_clip(opened):
    write_results(opened("[{source: x.mp4}]"))
    assert names(opened("[{source: x_smile+2.mp4, edits: {age: 1}}]")) == ["x_smile+2.mp4"]
    assert Path(opened("[{source: .}]").clips[0].source).name == "x.mp4"
