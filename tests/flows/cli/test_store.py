"""The commands `prune`, `store` and `verify`."""

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
from flows.requests.store_parts import parse_age, parse_size
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
class CliOutput:
    """Exit code and standard output of a command; `text` is without line ends and table frames."""

    code: int
    out: str

    @property
    def text(self) -> str:
        return " ".join(re.sub(r"[│┃]", " ", self.out).split())


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch, store: Store) -> Callable[..., CliOutput]:
    """`run_command("prune", "--keep-last", 1)` runs a command on `store` and raises its errors."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    app = typer.Typer()
    for command in (store_commands.prune, store_commands.store, store_commands.verify):
        app.command()(command)

    def call(*arguments: object) -> CliOutput:
        result = CliRunner().invoke(app, [*map(str, arguments), "--store", store.backend.url])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert all(len(line) <= 100 for line in result.stdout.splitlines()) or "--json" in arguments
        return CliOutput(result.exit_code, result.stdout)

    return call


@pytest.fixture
def read_json(run_command: Callable[..., CliOutput]) -> Callable[..., Any]:
    """`read_json(*arguments)` runs a command with `--json` and parses its output."""
    return lambda *arguments: json.loads(run_command(*arguments, "--json").out)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(tmp_path / "store")


def make(store: Store, stage: str, content: str, *inputs: Artifact, size: int = 1000) -> Artifact:
    def fill(out: Workspace) -> None:
        (out.path / "values").write_bytes(content.encode().ljust(size, b"."))
        out.facts["inputs"] = {artifact.stage: {"stage": artifact.stage, "key": artifact.key} for artifact in inputs}

    digests = {artifact.stage: artifact.digest for artifact in inputs}
    return store.make(Recipe(stage, 1, {"content": content}, {}, digests), fill)


def edit(store: Store, clip: str, name: str) -> Artifact:
    """Record a run with a `decode` artifact of 500 kB, shared by all edits of the clip, and 1 MB of its own."""
    with recorded(store, f"/clips/{clip}", hashlib.sha256(clip.encode()).hexdigest(), name, {}) as run:
        decode = make(store, "decode", clip, size=500_000)
        run.reached(decode)
        made = make(store, "stitch", f"{clip} {name}", decode, size=1_000_000)
        run.reached(made)
        return made


def make_crops(store: Store) -> tuple[Artifact, list[slice]]:
    """Compute an array of images; return the artifact and the rows that were written."""
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


def test_prune_lists_and_removes_artifacts(store: Store, run_command: Callable[..., CliOutput]) -> None:
    edit(store, "a.mp4", "smile+1")
    kept = edit(store, "a.mp4", "smile+2")

    result = run_command("prune", "--keep-last", 1)

    assert result.code == 0
    assert "a.mp4 smile+1" in result.text
    assert "completed it is not among the last 1 of its clip" in result.text
    assert "stitch artifact 1 1.0 MB only dropped runs need it" in result.text
    assert result.text.endswith("freed 1.0 MB; 1.5 MB kept")
    assert [run.edit for run in runs(store)] == ["smile+2"]
    assert [artifact.stage for artifact in store.artifacts()] == ["decode", "stitch"]
    store.verify(kept)


def test_a_dry_run_lists_the_same_and_removes_nothing(store: Store, run_command: Callable[..., CliOutput]) -> None:
    edit(store, "a.mp4", "smile+1")
    edit(store, "a.mp4", "smile+2")
    before = sorted((path, path.stat().st_mtime_ns) for path in store.folder.rglob("*"))

    result = run_command("prune", "--keep-last", 1, "--dry-run")

    assert "stitch artifact 1 1.0 MB only dropped runs need it" in result.text
    assert result.text.endswith("would free 1.0 MB; 1.5 MB kept")
    assert sorted((path, path.stat().st_mtime_ns) for path in store.folder.rglob("*")) == before


def test_prune_by_age_and_by_size(store: Store, read_json: Callable[..., Any]) -> None:
    for name in ("smile+1", "smile+2", "smile+3"):
        edit(store, "a.mp4", name)
    first = runs(store)[0]
    month_ago = (datetime.now(UTC) - timedelta(days=31)).isoformat()
    record = json.dumps({**vars(first), "started": month_ago, "finished": month_ago}).encode()
    store.backend.objects.write(f"runs/{first.name}.json", record)

    by_age = read_json("prune", "--older-than", "30d")
    by_size = read_json("prune", "--max-size", "1.5MB")

    assert ([run["edit"] for run in by_age["runs"]], by_age["freed_bytes"]) == (["smile+1"], 1_000_000)
    assert ([run["edit"] for run in by_size["runs"]], by_size["freed_bytes"]) == (["smile+2"], 1_000_000)
    assert by_size["stays_bytes"] == 1_500_000
    assert by_size["skipped"] == []


def test_prune_reports_if_the_size_cannot_be_reached(store: Store, run_command: Callable[..., CliOutput]) -> None:
    with recorded(store, "/clips/a.mp4", "ab" * 32, "smile+1", {}) as run:
        run.reached(make(store, "decode", "a.mp4"))
        result = run_command("prune", "--max-size", "10B")

    assert "More than 10B is kept: artifacts of runs in progress" in result.text


def test_prune_reports_artifacts_that_came_into_use_meanwhile(
    store: Store, run_command: Callable[..., CliOutput]
) -> None:
    made = edit(store, "a.mp4", "smile+1")
    lease = f"leases/stitch-{made.key}.json"

    with leased(store.backend.objects, lease, Patience(beat=3, expiry=60), {}):
        os.utime(store.folder / lease, (0, 0))  # the lease looks expired to the plan, and is then renewed
        result = run_command("prune", "--keep-last", 0)

    assert f"stitch {made.key} is kept: it came into use after planning" in result.text
    assert list(store.artifacts()) == [made]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Say what to remove: --keep-last 3, --older-than 30d or --max-size 500GB."),
        (["--keep-last", "-1"], "--keep-last is -1. Give the number of runs to keep of each clip"),
        (["--older-than", "soon"], "--older-than is 'soon'. Write a number with m, h, d or w, such as 30d"),
        (["--max-size", "12 parsecs"], "--max-size is '12 parsecs'. Write a number with kB, MB, GB, TB"),
    ],
)
def test_prune_refuses_invalid_options(
    store: Store, run_command: Callable[..., CliOutput], options: list[str], message: str
) -> None:
    edit(store, "a.mp4", "smile+1")

    with pytest.raises(InputError, match=re.escape(message)):
        run_command("prune", *options)
    assert len(list(store.artifacts())) == 2


@pytest.mark.parametrize("arguments", [["prune", "--keep-last", "1"], ["store"], ["verify"]])
def test_a_missing_store_is_reported(run_command: Callable[..., CliOutput], arguments: list[str], store: Store) -> None:
    with pytest.raises(InputError, match=r"There is no store at .*store\. Give its folder, or s3://"):
        run_command(*arguments)
    assert not store.folder.exists()


def test_ages_and_sizes_are_parsed_with_their_units() -> None:
    assert [parse_age(text) for text in ("90m", "12h", "30d", "2w", "1.5d")] == [5400, 43200, 2592000, 1209600, 129600]
    assert [parse_size(text) for text in ("1kB", "500GB", "2TiB", "1.5 mb")] == [1000, 5 * 10**11, 2**41, 1500000]


def test_store_shows_the_use_of_space(store: Store, run_command: Callable[..., CliOutput]) -> None:
    edit(store, "a.mp4", "smile+1")
    edit(store, "a.mp4", "smile+2")
    edit(store, "b.mp4", "age-3")
    make(store, "report", "of no run")

    text = run_command("store").text

    assert "stitch 3 3.0 MB 75%" in text
    assert "a.mp4 3 2.5 MB 2.5 MB 0 bytes" in text
    assert "a.mp4 smile+1 2 1.5 MB 1.0 MB 500.0 kB" in text
    assert "b.mp4 age-3 2 1.5 MB 1.5 MB 0 bytes" in text
    assert "no run: 1 artifacts, 1.0 kB" in text
    assert text.endswith("4.0 MB of 3 runs")


def test_store_counts_every_byte_once(store: Store, read_json: Callable[..., Any]) -> None:
    edit(store, "a.mp4", "smile+1")
    edit(store, "b.mp4", "smile+1")
    make(store, "report", "of no run")

    def fail_half_way(out: Workspace) -> None:
        (out.path / "values").write_bytes(bytes(300))
        raise MemoryError

    with pytest.raises(MemoryError):
        store.make(Recipe("tune", 1, {}, {}, {}), fail_half_way)

    facts = read_json("store")

    on_disk = [path for path in store.folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    own = {"runs", "leases", ".guard"}
    assert facts["bytes"] == sum(p.stat().st_size for p in on_disk if p.relative_to(store.folder).parts[0] not in own)
    unfinished = sum(entry["bytes"] for entry in facts["unfinished"])
    assert unfinished >= 300
    assert sum(stage["bytes"] for stage in facts["stages"]) + unfinished == facts["bytes"]
    assert sum(clip["bytes"] for clip in facts["clips"]) + facts["no_run"]["bytes"] + unfinished == facts["bytes"]


def test_two_clips_of_one_name_are_distinguished(store: Store, read_json: Callable[..., Any]) -> None:
    for source in ("ab" * 32, "cd" * 32):
        with recorded(store, f"/{source[:2]}/take.mp4", source, "smile+1", {}) as run:
            run.reached(make(store, "decode", source))

    assert {clip["name"] for clip in read_json("store")["clips"]} == {"take.mp4 (ababab)", "take.mp4 (cdcdcd)"}


def test_verify_reports_intact_artifacts(store: Store, run_command: Callable[..., CliOutput]) -> None:
    edit(store, "a.mp4", "smile+1")

    result = run_command("verify")

    assert (result.code, result.text) == (0, "2 artifacts, 1.5 MB: all intact")


def test_verify_lists_every_damaged_file(
    store: Store, run_command: Callable[..., CliOutput], read_json: Callable[..., Any]
) -> None:
    crops, _ = make_crops(store)
    made = edit(store, "a.mp4", "smile+1")
    names = [name for name in store.manifest(crops)["files"] if name.startswith("crops/c")]
    flip_a_bit(crops.path / names[0])
    (crops.path / "crops" / "zarr.json").unlink()
    (made.path / "values").write_bytes(b"short")

    result, facts = run_command("verify"), read_json("verify")

    assert result.code == 1
    assert f"align {crops.key} {names[0]} its bytes changed" in result.text
    assert f"align {crops.key} crops/zarr.json missing" in result.text
    assert f"stitch {made.key} values 5 bytes, should be 1000000" in result.text
    assert "`stitchedit verify --repair`" in result.text
    assert {(row["stage"], row["file"]) for row in facts["damaged"]} == {
        ("align", names[0]), ("align", "crops/zarr.json"), ("stitch", "values"),
    }  # fmt: skip
    assert store.find(Recipe("align", 1, {}, {}, {})) is None  # because of the missing file; no damage is recorded
    assert "damaged" not in store.manifest(crops)


def test_repair_recomputes_only_the_damaged_rows(store: Store, run_command: Callable[..., CliOutput]) -> None:
    crops, all_rows = make_crops(store)
    (name,) = (name for name in store.manifest(crops)["files"] if name.startswith("crops/c"))
    flip_a_bit(crops.path / name)
    assert make_crops(store) == (crops, [])  # not noticed: the size is unchanged

    result = run_command("verify", "--repair")
    assert result.code == 1
    assert "Recorded. Run the same edit again" in result.text
    repaired, rows = make_crops(store)

    assert repaired == crops
    assert len(rows) == 1
    assert len(all_rows) == ROWS // CHUNK
    assert run_command("verify").code == 0


@pytest.mark.parametrize("damage", [b"{", b'"of": "another"'])
def test_a_damaged_manifest_is_found_and_repaired(
    store: Store, read_json: Callable[..., Any], damage: bytes, run_command: Callable[..., CliOutput]
) -> None:
    crops, _ = make_crops(store)
    manifest = crops.path / "manifest.json"
    if damage == b"{":
        manifest.write_bytes(damage)
    else:
        manifest.write_text(manifest.read_text().replace(store.manifest(crops)["digest"], "0" * 64))

    facts = read_json("verify", "--repair")

    assert [row["file"] for row in facts["damaged"]] == ["manifest.json"]
    assert make_crops(store)[0].digest == crops.digest
    assert run_command("verify").code == 0


def test_verify_checks_only_the_named_artifacts(store: Store, read_json: Callable[..., Any]) -> None:
    one, two = edit(store, "a.mp4", "smile+1"), edit(store, "a.mp4", "smile+2")
    flip_a_bit(one.path / "values")

    assert read_json("verify", f"stitch/{two.key}")["damaged"] == []
    assert read_json("verify", "decode", two.key[:8])["artifacts"] == 2
    assert len(read_json("verify", "stitch")["damaged"]) == 1
    with pytest.raises(InputError, match=r"No artifact 'stich' in .*store\. Give a stage"):
        read_json("verify", "stich")


def test_an_artifact_removed_meanwhile_is_not_reported_as_damaged(store: Store) -> None:
    made = edit(store, "a.mp4", "smile+1")
    files = verify_files(store, made)
    (made.path / "values").unlink()
    (made.path / "manifest.json").unlink()

    assert list(files) == []


def test_verify_of_a_bucket_reads_the_bucket_and_keeps_local_copies(
    s3_url: str, tmp_path: Path, run_command: Callable[..., CliOutput], store: Store
) -> None:
    from storage.store import open_store  # noqa: PLC0415

    bucket = open_store(s3_url, tmp_path / "scratch")
    crops, _ = make_crops(bucket)
    (name,) = (name for name in bucket.manifest(crops)["files"] if name.startswith("crops/c"))
    local = (crops.path / name).read_bytes()
    bucket.backend.objects.write(f"align/{crops.key}/{name}", b"damaged")
    options = ["--repair", "--scratch", tmp_path / "scratch", "--store", s3_url]
    app = typer.Typer()
    app.command()(store_commands.verify)

    result = CliRunner().invoke(app, list(map(str, options)))

    assert result.exit_code == 1
    assert "damaged files: 1" in result.stdout
    assert (crops.path / name).read_bytes() == local
    assert list((tmp_path / "scratch").glob("verify-*")) == []
    repaired, rows = make_crops(bucket)
    assert repaired == crops
    assert rows != []
    bucket.verify(crops)
