"""The commands `prune`, `store` and `verify`, as they are typed."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from flows.cli import store as store_commands
from flows.cli.store import parse_age, parse_size
from stitchedit.errors import InputError
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact, Recipe
from storage.backends.lease import Patience, leased
from storage.runs import recorded, runs
from storage.store import Store
from storage.verify import verify_files
from storage.workspace import Workspace

ROWS, CHUNK = 24, 4
IMAGE = np.zeros((3, 16, 16), np.uint8)


@dataclass(frozen=True)
class Said:
    """What a command printed, without line ends and frames of tables, and its exit code."""

    code: int
    out: str

    @property
    def text(self) -> str:
        return " ".join(re.sub(r"[│┃]", " ", self.out).split())


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, store: Store) -> Callable[..., Said]:
    """`said("prune", "--keep-last", 1)` is what that command says of `store`; an error is raised."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    app = typer.Typer()
    for command in (store_commands.prune, store_commands.store, store_commands.verify):
        app.command()(command)

    def call(*words: object) -> Said:
        result = CliRunner().invoke(app, [*map(str, words), "--store", store.backend.url])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert all(len(line) <= 100 for line in result.stdout.splitlines()) or "--json" in words
        return Said(result.exit_code, result.stdout)

    return call


@pytest.fixture
def told(said: Callable[..., Said]) -> Callable[..., Any]:
    """The same as JSON."""
    return lambda *words: json.loads(said(*words, "--json").out)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


def make(store: Store, stage: str, what: str, *inputs: Artifact, size: int = 1000) -> Artifact:
    def fill(out: Workspace) -> None:
        (out.path / "values").write_bytes(what.encode().ljust(size, b"."))
        out.facts["inputs"] = {artifact.stage: {"stage": artifact.stage, "key": artifact.key} for artifact in inputs}

    digests = {artifact.stage: artifact.digest for artifact in inputs}
    return store.make(Recipe(stage, 1, {"what": what}, {}, digests), fill)


def edit(store: Store, clip: str, words: str) -> Artifact:
    """A run of which the artifact of `decode` is shared with other edits of the clip: 500 kB, and 1 MB of its own."""
    with recorded(store, f"/clips/{clip}", hashlib.sha256(clip.encode()).hexdigest(), words, {}) as run:
        decode = make(store, "decode", clip, size=500_000)
        run.reached(decode)
        made = make(store, "stitch", f"{clip} {words}", decode, size=1_000_000)
        run.reached(made)
        return made


def make_crops(store: Store) -> tuple[Artifact, list[slice]]:
    """An array of images, and which of its rows had to be written."""
    written: list[slice] = []

    def fill(out: Workspace) -> None:
        array = FrameArray.create(out.path / "crops", IMAGE, ROWS, CHUNK, "image")
        for rows in array.pending():
            written.append(rows)
            array.write(rows, np.full((CHUNK, *IMAGE.shape), rows.start, np.uint8))

    return store.make(Recipe("align", 1, {}, {}, {}), fill), written


def flip_a_bit(path: Path) -> None:
    value = bytearray(path.read_bytes())
    value[len(value) // 2] ^= 1
    path.write_bytes(value)


def test_prune_says_what_goes_and_frees_it(store: Store, said: Callable[..., Said]) -> None:
    edit(store, "a.mp4", "smile+1")
    kept = edit(store, "a.mp4", "smile+2")

    result = said("prune", "--keep-last", 1)

    assert result.code == 0
    assert "a.mp4 smile+1" in result.text
    assert "completed it is not among the last 1 of its clip" in result.text
    assert "stitch artifact 1 1.0 MB only dropped runs need it" in result.text
    assert result.text.endswith("freed 1.0 MB; 1.5 MB stay")
    assert [run.edit for run in runs(store)] == ["smile+2"]
    assert [artifact.stage for artifact in store.artifacts()] == ["decode", "stitch"]
    store.verify(kept)


def test_a_dry_run_says_the_same_and_removes_nothing(store: Store, said: Callable[..., Said]) -> None:
    edit(store, "a.mp4", "smile+1")
    edit(store, "a.mp4", "smile+2")
    before = sorted((path, path.stat().st_mtime_ns) for path in store.folder.rglob("*"))

    result = said("prune", "--keep-last", 1, "--dry-run")

    assert "stitch artifact 1 1.0 MB only dropped runs need it" in result.text
    assert result.text.endswith("would free 1.0 MB; 1.5 MB stay")
    assert sorted((path, path.stat().st_mtime_ns) for path in store.folder.rglob("*")) == before


def test_prune_by_age_and_by_size(store: Store, told: Callable[..., Any]) -> None:
    for words in ("smile+1", "smile+2", "smile+3"):
        edit(store, "a.mp4", words)
    first = runs(store)[0]
    then = (datetime.now(UTC) - timedelta(days=31)).isoformat()
    record = json.dumps({**vars(first), "started": then, "finished": then}).encode()
    store.backend.objects.write(f"runs/{first.name}.json", record)

    by_age = told("prune", "--older-than", "30d")
    by_size = told("prune", "--max-size", "1.5MB")

    assert ([run["edit"] for run in by_age["runs"]], by_age["freed_bytes"]) == (["smile+1"], 1_000_000)
    assert ([run["edit"] for run in by_size["runs"]], by_size["freed_bytes"]) == (["smile+2"], 1_000_000)
    assert by_size["stays_bytes"] == 1_500_000
    assert by_size["skipped"] == []


def test_prune_says_when_less_can_go_than_wanted(store: Store, said: Callable[..., Said]) -> None:
    with recorded(store, "/clips/a.mp4", "ab" * 32, "smile+1", {}) as run:
        run.reached(make(store, "decode", "a.mp4"))
        result = said("prune", "--max-size", "10B")

    assert "More than 10B stay: runs that go on" in result.text


def test_prune_says_what_came_into_use_meanwhile(store: Store, said: Callable[..., Said]) -> None:
    made = edit(store, "a.mp4", "smile+1")
    lease = f"leases/stitch-{made.key}.json"

    with leased(store.backend.objects, lease, Patience(beat=3, expiry=60), {}):
        os.utime(store.folder / lease, (0, 0))  # for the plan it was not renewed for long, then it is
        result = said("prune", "--keep-last", 0)

    assert f"stitch {made.key} stays: it came into use meanwhile" in result.text
    assert list(store.artifacts()) == [made]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "Say what may go: --keep-last 3, --older-than 30d or --max-size 500GB."),
        (["--keep-last", "-1"], "--keep-last is -1. Give the number of runs to keep of each clip"),
        (["--older-than", "soon"], "--older-than is 'soon'. Write a number with m, h, d or w, such as 30d"),
        (["--max-size", "12 parsecs"], "--max-size is '12 parsecs'. Write a number with kB, MB, GB, TB"),
    ],
)
def test_prune_refuses_what_it_cannot_understand(
    store: Store, said: Callable[..., Said], words: list[str], why: str
) -> None:
    edit(store, "a.mp4", "smile+1")

    with pytest.raises(InputError, match=re.escape(why)):
        said("prune", *words)
    assert len(list(store.artifacts())) == 2


@pytest.mark.parametrize("words", [["prune", "--keep-last", "1"], ["store"], ["verify"]])
def test_a_folder_that_is_no_store_is_told(said: Callable[..., Said], words: list[str], store: Store) -> None:
    with pytest.raises(InputError, match=r"There is no store at .*store\. Give its folder, or s3://"):
        said(*words)
    assert not store.folder.exists()


def test_ages_and_sizes_are_read_with_their_units() -> None:
    assert [parse_age(text) for text in ("90m", "12h", "30d", "2w", "1.5d")] == [5400, 43200, 2592000, 1209600, 129600]
    assert [parse_size(text) for text in ("1kB", "500GB", "2TiB", "1.5 mb")] == [1000, 5 * 10**11, 2**41, 1500000]


def test_store_shows_what_uses_the_space(store: Store, said: Callable[..., Said]) -> None:
    edit(store, "a.mp4", "smile+1")
    edit(store, "a.mp4", "smile+2")
    edit(store, "b.mp4", "age-3")
    make(store, "report", "of nobody")

    text = said("store").text

    assert "stitch 3 3.0 MB 75%" in text
    assert "a.mp4 3 2.5 MB 2.5 MB 0 bytes" in text
    assert "a.mp4 smile+1 2 1.5 MB 1.0 MB 500.0 kB" in text
    assert "b.mp4 age-3 2 1.5 MB 1.5 MB 0 bytes" in text
    assert "no run: 1 artifacts, 1.0 kB" in text
    assert text.endswith("4.0 MB of 3 runs")


def test_store_counts_every_byte_once(store: Store, told: Callable[..., Any]) -> None:
    edit(store, "a.mp4", "smile+1")
    edit(store, "b.mp4", "smile+1")
    make(store, "report", "of nobody")

    def fail_half_way(out: Workspace) -> None:
        (out.path / "values").write_bytes(bytes(300))
        raise MemoryError

    with pytest.raises(MemoryError):
        store.make(Recipe("tune", 1, {}, {}, {}), fail_half_way)

    facts = told("store")

    on_disk = [path for path in store.folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    own = {"runs", "leases", ".guard"}
    assert facts["bytes"] == sum(p.stat().st_size for p in on_disk if p.relative_to(store.folder).parts[0] not in own)
    unfinished = sum(entry["bytes"] for entry in facts["unfinished"])
    assert unfinished >= 300
    assert sum(stage["bytes"] for stage in facts["stages"]) + unfinished == facts["bytes"]
    assert sum(clip["bytes"] for clip in facts["clips"]) + facts["no_run"]["bytes"] + unfinished == facts["bytes"]


def test_two_clips_of_one_name_are_told_apart(store: Store, told: Callable[..., Any]) -> None:
    for source in ("ab" * 32, "cd" * 32):
        with recorded(store, f"/{source[:2]}/take.mp4", source, "smile+1", {}) as run:
            run.reached(make(store, "decode", source))

    assert {clip["name"] for clip in told("store")["clips"]} == {"take.mp4 (ababab)", "take.mp4 (cdcdcd)"}


def test_verify_finds_all_whole(store: Store, said: Callable[..., Said]) -> None:
    edit(store, "a.mp4", "smile+1")

    result = said("verify")

    assert (result.code, result.text) == (0, "2 artifacts, 1.5 MB: all whole")


def test_verify_names_every_damaged_file(store: Store, said: Callable[..., Said], told: Callable[..., Any]) -> None:
    crops, _ = make_crops(store)
    made = edit(store, "a.mp4", "smile+1")
    names = [name for name in store.manifest(crops)["files"] if name.startswith("crops/c")]
    flip_a_bit(crops.path / names[0])
    (crops.path / "crops" / "zarr.json").unlink()
    (made.path / "values").write_bytes(b"short")

    result, facts = said("verify"), told("verify")

    assert result.code == 1
    assert f"align {crops.key} {names[0]} its bytes changed" in result.text
    assert f"align {crops.key} crops/zarr.json missing" in result.text
    assert f"stitch {made.key} values 5 bytes, should be 1000000" in result.text
    assert "`stitchedit verify --repair`" in result.text
    assert {(row["stage"], row["file"]) for row in facts["damaged"]} == {
        ("align", names[0]), ("align", "crops/zarr.json"), ("stitch", "values"),
    }  # fmt: skip
    assert store.find(Recipe("align", 1, {}, {}, {})) is None  # for what is missing; else nothing was noted
    assert "damaged" not in store.manifest(crops)


def test_repair_has_only_the_damaged_rows_made_again(store: Store, said: Callable[..., Said]) -> None:
    crops, all_rows = make_crops(store)
    (name,) = (name for name in store.manifest(crops)["files"] if name.startswith("crops/c"))
    flip_a_bit(crops.path / name)
    assert make_crops(store) == (crops, [])  # the same size: nobody saw it

    result = said("verify", "--repair")
    assert result.code == 1
    assert "Noted. Run the same edit again" in result.text
    mended, rows = make_crops(store)

    assert mended == crops
    assert len(rows) == 1
    assert len(all_rows) == ROWS // CHUNK
    assert said("verify").code == 0


@pytest.mark.parametrize("damage", [b"{", b'"of": "another"'])
def test_a_damaged_manifest_is_found_and_repaired(
    store: Store, told: Callable[..., Any], damage: bytes, said: Callable[..., Said]
) -> None:
    crops, _ = make_crops(store)
    manifest = crops.path / "manifest.json"
    if damage == b"{":
        manifest.write_bytes(damage)
    else:
        manifest.write_text(manifest.read_text().replace(store.manifest(crops)["digest"], "0" * 64))

    facts = told("verify", "--repair")

    assert [row["file"] for row in facts["damaged"]] == ["manifest.json"]
    assert make_crops(store)[0].digest == crops.digest
    assert said("verify").code == 0


def test_verify_looks_at_what_is_named_only(store: Store, told: Callable[..., Any]) -> None:
    one, two = edit(store, "a.mp4", "smile+1"), edit(store, "a.mp4", "smile+2")
    flip_a_bit(one.path / "values")

    assert told("verify", f"stitch/{two.key}")["damaged"] == []
    assert told("verify", "decode", two.key[:8])["artifacts"] == 2
    assert len(told("verify", "stitch")["damaged"]) == 1
    with pytest.raises(InputError, match=r"No artifact 'stich' in .*store\. Give a stage"):
        told("verify", "stich")


def test_an_artifact_that_is_made_again_meanwhile_is_not_called_damaged(store: Store) -> None:
    made = edit(store, "a.mp4", "smile+1")
    files = verify_files(store, made)
    (made.path / "values").unlink()
    (made.path / "manifest.json").unlink()

    assert list(files) == []


def test_verify_of_a_bucket_reads_the_bucket_and_leaves_copies_here_alone(
    s3_url: str, tmp_path: Path, said: Callable[..., Said], store: Store
) -> None:
    from storage.store import open_store  # noqa: PLC0415

    bucket = open_store(s3_url, tmp_path / "scratch")
    crops, _ = make_crops(bucket)
    (name,) = (name for name in bucket.manifest(crops)["files"] if name.startswith("crops/c"))
    here = (crops.path / name).read_bytes()
    bucket.backend.objects.write(f"align/{crops.key}/{name}", b"damaged")
    words = ["--repair", "--scratch", tmp_path / "scratch", "--store", s3_url]
    app = typer.Typer()
    app.command()(store_commands.verify)

    result = CliRunner().invoke(app, list(map(str, words)))

    assert result.exit_code == 1
    assert "damaged files: 1" in result.stdout
    assert (crops.path / name).read_bytes() == here
    assert list((tmp_path / "scratch").glob("verify-*")) == []
    mended, rows = make_crops(bucket)
    assert mended == crops
    assert rows != []
    bucket.verify(crops)
