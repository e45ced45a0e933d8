import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import zarr

from storage.arrays.frame_array import ArrayKind, FrameArray, damaged_files, reopen_damaged, unfinished_arrays
from storage.errors import DamagedError, IncompleteError, MismatchError

LIKE = {
    "image": np.zeros((3, 16, 20), np.uint8),
    "label": np.zeros((16, 20), np.uint8),
    "number": np.zeros((18, 32), np.float32),
}
KINDS: list[ArrayKind] = ["image", "label", "number"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "values"


def noise(kind: ArrayKind, rows: int) -> np.ndarray:
    random = np.random.default_rng(rows)
    shape = (rows, *LIKE[kind].shape)
    if kind == "number":
        return random.standard_normal(shape).astype(np.float32)
    return random.integers(0, 256, shape, np.uint8)


def filled(path: Path, kind: ArrayKind, rows: int = 10, chunk: int = 4) -> np.ndarray:
    values = noise(kind, rows)
    array = FrameArray.create(path, LIKE[kind], rows, chunk, kind)
    for part in array.pending():
        array.write(part, values[part])
    return values


def two_shards(path: Path, kind: ArrayKind) -> np.ndarray:
    """Seven units in two files: six and one for images and labels, four and three for numbers."""
    return filled(path, kind, rows=280, chunk=42) if kind != "number" else filled(path, kind, rows=3500, chunk=512)


def fill_again(path: Path, kind: ArrayKind, values: np.ndarray, chunk: int) -> None:
    array = FrameArray.create(path, LIKE[kind], len(values), chunk, kind)
    for rows in array.pending():
        array.write(rows, values[rows])


def flip_a_bit(file: Path, where: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(where * len(content))] ^= 4
    file.write_bytes(content)


def hashes(path: Path) -> dict[str, str]:
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in path.iterdir()}


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_read_back_exactly(path: Path, kind: ArrayKind) -> None:
    values = filled(path, kind)
    array = FrameArray.open(path)

    np.testing.assert_array_equal(array.read(), values)
    np.testing.assert_array_equal(array.read(slice(3, 9, 2)), values[3:9:2])
    np.testing.assert_array_equal(array.read(-1), values[-1])
    assert (array.shape, array.dtype, len(array)) == (values.shape, values.dtype, 10)
    assert list(array.read(slice(5, 5)).shape) == [0, *LIKE[kind].shape]
    with pytest.raises(IndexError):
        array.read(10)


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.bool_])
def test_arrays_of_one_number_per_row_are_supported(path: Path, dtype: type) -> None:
    array = FrameArray.create(path, np.zeros((), dtype), rows=3, chunk=100, kind="number")
    array.write(slice(0, 3), np.array([1, 0, 1], dtype))

    np.testing.assert_array_equal(array.read(), np.array([1, 0, 1], dtype))


def test_resumes_after_a_crash(path: Path) -> None:
    first = FrameArray.create(path, LIKE["label"], rows=10, chunk=4, kind="label")
    first.write(next(first.pending()), np.full((4, 16, 20), 7, np.uint8))

    again = FrameArray.create(path, LIKE["label"], rows=10, chunk=4, kind="label")

    assert list(again.pending()) == [slice(4, 8), slice(8, 10)]
    assert (again.finished, again.chunks) == (1, 3)
    with pytest.raises(IncompleteError, match="2 of 3 chunks left"):
        FrameArray.open(path).read()


def test_finished_rows_are_readable_while_others_are_pending(path: Path) -> None:
    array = FrameArray.create(path, LIKE["label"], rows=10, chunk=4, kind="label")
    array.write(slice(4, 8), np.full((4, 16, 20), 7, np.uint8))

    assert (array.read(slice(4, 8)) == 7).all()
    with pytest.raises(IncompleteError):
        array.read(slice(3, 8))


def test_a_kill_during_creation_restarts_creation(path: Path) -> None:
    FrameArray.create(path, LIKE["label"], rows=10, chunk=4, kind="label")
    (path / "zarr.json").unlink()

    assert len(list(FrameArray.create(path, LIKE["label"], 10, 4, "label").pending())) == 3


def test_a_torn_chunk_is_cleared_and_rewritten(path: Path) -> None:
    array = FrameArray.create(path, LIKE["label"], rows=10, chunk=4, kind="label")
    array.write(slice(0, 4), np.ones((4, 16, 20), np.uint8))
    loose = path.with_name(".values.loose")
    (loose / "1").write_bytes(b"half a chu")
    (loose / ".2.part").write_bytes(b"half a")
    (path / "c.1.0.abc.partial").write_bytes(b"half a")

    again = FrameArray.create(path, LIKE["label"], rows=10, chunk=4, kind="label")

    assert [file.name for file in loose.iterdir()] == ["0"]
    assert [file.name for file in path.iterdir()] == ["zarr.json"]
    assert next(again.pending()) == slice(4, 8)


@pytest.mark.parametrize("where", [0.0, 0.4, 0.9])
def test_a_unit_that_changes_in_a_partial_array_is_rewritten(path: Path, where: float) -> None:
    array = FrameArray.create(path, LIKE["label"], rows=10, chunk=4, kind="label")
    for rows in (slice(0, 4), slice(4, 8)):
        array.write(rows, np.ones((4, 16, 20), np.uint8))
    file = path.with_name(".values.loose") / "0"
    flip_a_bit(file, where)

    with pytest.raises(DamagedError, match=r"Rows 0:4 of .*values are lost: 0 is damaged") as caught:
        array.read(slice(0, 4))
    assert caught.value.path == file
    with pytest.raises(DamagedError, match=r"Rows 0:4 of .*values are lost"):
        array.write(slice(8, 10), np.ones((2, 16, 20), np.uint8))

    again = FrameArray.create(path, LIKE["label"], rows=10, chunk=4, kind="label")
    assert list(again.pending()) == [slice(0, 4)]


def test_equal_values_give_equal_bytes_whatever_the_order_of_writing(tmp_path: Path) -> None:
    values = noise("image", 600)
    for name, order in {"forward": 1, "backward": -1}.items():
        array = FrameArray.create(tmp_path / name, LIKE["image"], 600, 50, "image")
        for rows in list(array.pending())[::order]:
            array.write(rows, values[rows])
            array = FrameArray.create(tmp_path / name, LIKE["image"], 600, 50, "image")

    assert hashes(tmp_path / "forward") == hashes(tmp_path / "backward")


def test_parallel_writers_give_the_same_bytes_as_one(tmp_path: Path) -> None:
    values = filled(tmp_path / "alone", "image", rows=600, chunk=20)
    together = tmp_path / "together"
    parts = list(FrameArray.create(together, LIKE["image"], 600, 20, "image").pending())

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(lambda rows: FrameArray.open(together).write(rows, values[rows]), parts))

    assert hashes(together) == hashes(tmp_path / "alone")
    assert unfinished_arrays(tmp_path) == []


def test_a_finished_array_has_no_journal_and_rejects_writes(path: Path) -> None:
    array = FrameArray.create(path, LIKE["label"], rows=8, chunk=4, kind="label")
    array.write(slice(0, 4), np.ones((4, 16, 20), np.uint8))
    assert unfinished_arrays(path.parent) == [path]

    array.write(slice(4, 8), np.ones((4, 16, 20), np.uint8))

    assert [file.name for file in path.parent.iterdir()] == ["values"]
    with pytest.raises(ValueError, match="not one chunk that is pending"):
        FrameArray.open(path).write(slice(0, 4), np.ones((4, 16, 20), np.uint8))


def test_only_whole_pending_chunks_are_written(path: Path) -> None:
    array = FrameArray.create(path, LIKE["label"], rows=10, chunk=4, kind="label")

    with pytest.raises(ValueError, match="Rows 2:6"):
        array.write(slice(2, 6), np.ones((4, 16, 20), np.uint8))


def test_nothing_is_cast_or_broadcast(path: Path) -> None:
    array = FrameArray.create(path, LIKE["label"], rows=10, chunk=4, kind="label")

    with pytest.raises(MismatchError, match="got float32"):
        array.write(slice(0, 4), np.ones((4, 16, 20), np.float32))
    with pytest.raises(MismatchError, match=r"got uint8\(1, 16, 20\)"):
        array.write(slice(0, 4), np.ones((1, 16, 20), np.uint8))


def test_chunks_of_zeros_are_stored_as_files(path: Path) -> None:
    array = FrameArray.create(path, LIKE["label"], rows=4, chunk=2, kind="label")
    for rows in array.pending():
        array.write(rows, np.zeros((2, 16, 20), np.uint8))

    assert not array.read().any()
    assert damaged_files(path) == []
    assert (path / "c.0.0.0").stat().st_size > 4 * 16 + 4  # more than the index


def test_a_missing_shard_is_damage_not_zeros(path: Path) -> None:
    two_shards(path, "image")
    (path / "c.1.0.0.0").unlink()
    array = FrameArray.open(path)

    assert array.read(slice(0, 4)).any()
    with pytest.raises(DamagedError, match=r"Rows 252:280 of .*values are lost: c\.1\.0\.0\.0 is missing") as caught:
        array.read(255)
    assert caught.value.path == path / "c.1.0.0.0"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.999])
def test_a_flipped_bit_is_damage(path: Path, kind: ArrayKind, where: float) -> None:
    two_shards(path, kind)
    file = next(path.glob("c.1.*"))
    flip_a_bit(file, where)

    with pytest.raises(DamagedError, match=rf"of .*values are lost: {file.name} is damaged") as caught:
        FrameArray.open(path).read()
    assert caught.value.path == file
    assert damaged_files(path) == [file]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [0, 1, 40, -1])
def test_a_truncated_shard_is_damage(path: Path, kind: ArrayKind, length: int) -> None:
    filled(path, kind)
    file = next(path.glob("c.0.*"))
    file.write_bytes(file.read_bytes()[:length])

    with pytest.raises(DamagedError, match="Rows 0:4 of"):
        FrameArray.open(path).read()
    assert damaged_files(path) == [file]


def test_every_changed_byte_of_the_metadata_is_detected(path: Path) -> None:
    filled(path, "image")
    file = path / "zarr.json"
    whole = file.read_bytes()

    for byte in range(len(whole)):
        changed = bytearray(whole)
        changed[byte] ^= 1 << byte % 8
        file.write_bytes(changed)
        with pytest.raises(DamagedError, match=r"zarr\.json is damaged"):
            FrameArray.open(path)


def test_every_flipped_bit_of_a_shard_is_detected(path: Path) -> None:
    array = FrameArray.create(path, np.zeros((1, 2, 2), np.uint8), rows=2, chunk=1, kind="image")
    for rows in array.pending():
        array.write(rows, np.ones((1, 1, 2, 2), np.uint8))
    file = path / "c.0.0.0.0"
    whole = file.read_bytes()

    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        assert damaged_files(path) == [file], bit


def test_another_shape_at_the_same_path_is_rejected(path: Path) -> None:
    FrameArray.create(path, LIKE["label"], rows=10, chunk=4, kind="label")

    with pytest.raises(MismatchError, match=r"uint8\(10, 16, 20\) in chunks of 4, but now uint8\(11, 16, 20\)"):
        FrameArray.create(path, LIKE["label"], rows=11, chunk=4, kind="label")


def test_invalid_shapes_are_rejected(path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"Images are uint8 or uint16 \(channel, height, width\), got uint8\(16, 20, 3\)"
    ):
        FrameArray.create(path, np.zeros((16, 20, 3), np.uint8), rows=10, chunk=4, kind="image")
    with pytest.raises(ValueError, match="got 0 and 4"):
        FrameArray.create(path, LIKE["label"], rows=0, chunk=4, kind="label")


def test_a_missing_array_and_a_damaged_one_raise_different_errors(path: Path) -> None:
    with pytest.raises(IncompleteError, match="no array at"):
        FrameArray.open(path)

    filled(path, "label")
    (path / "zarr.json").write_text("{")
    with pytest.raises(DamagedError, match=r"zarr\.json is damaged"):
        FrameArray.open(path)


def test_images_of_16_bits_are_read_back_and_a_flipped_bit_is_damage(path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (10, 3, 16, 20), np.uint16)
    array = FrameArray.create(path, values[0], rows=10, chunk=4, kind="image")
    for rows in array.pending():
        array.write(rows, values[rows])
    assert np.array_equal(FrameArray.open(path).read(), values)

    shard = next(file for file in path.rglob("c.*") if file.is_file())
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DamagedError):
        FrameArray.open(path).read()


def test_correlated_neighbouring_pixels_compress_well(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8), (4, 3, 64, 256))
    grain = np.random.default_rng(0).integers(0, 4, ramp.shape, np.uint8)
    sizes = {}
    for kind in ("image", "label"):
        array = FrameArray.create(tmp_path / kind, ramp[0], rows=4, chunk=4, kind=kind)
        array.write(slice(0, 4), ramp + grain)
        sizes[kind] = sum(file.stat().st_size for file in (tmp_path / kind).iterdir())

    assert sizes["image"] < 0.7 * sizes["label"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Numcodecs codecs")
def test_a_finished_array_is_plain_zarr(path: Path, kind: ArrayKind) -> None:
    values = two_shards(path, kind)
    array = zarr.open_array(path, mode="r")

    np.testing.assert_array_equal(array[:], values)
    assert array.shards is not None
    assert len(list(path.iterdir())) == 3
    if kind != "number":
        assert array.chunks[0] == 1  # rows can be decoded separately


def test_ten_minutes_take_fewer_than_a_hundred_files(path: Path) -> None:
    array = FrameArray.create(path, np.zeros((1, 2, 2), np.uint8), rows=18_000, chunk=100, kind="image")
    most = 0
    for rows in array.pending():
        array.write(rows, np.ones((100, 1, 2, 2), np.uint8))
        most = max(most, sum(1 for file in path.parent.rglob("*") if file.is_file()))

    assert len(list(path.iterdir())) == 91
    assert most <= 94  # shards are sealed during writing, so that no data is stored twice
    assert FrameArray.open(path).chunk == 100


def test_an_array_of_one_unit_never_has_more_than_two_files(path: Path) -> None:
    filled(path, "number", rows=30, chunk=30)

    assert sorted(file.name for file in path.parent.rglob("*")) == ["c.0.0.0", "values", "zarr.json"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shard", "where"), [(0, 0.5), (1, 0.1)])
def test_one_flipped_byte_costs_one_unit(path: Path, kind: ArrayKind, shard: int, where: float) -> None:
    values = two_shards(path, kind)
    before, chunk = hashes(path), FrameArray.open(path).chunk
    flip_a_bit(next(path.glob(f"c.{shard}.*")), where)

    assert reopen_damaged(path) == 1

    array = FrameArray.open(path)
    assert unfinished_arrays(path.parent) == [path]
    (lost,) = array.pending()
    np.testing.assert_array_equal(array.read(slice(0, lost.start)), values[: lost.start])
    np.testing.assert_array_equal(array.read(slice(lost.stop, None)), values[lost.stop :])
    fill_again(path, kind, values, chunk)
    assert hashes(path) == before
    assert [file.name for file in path.parent.iterdir()] == ["values"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", ["deleted", "index", "cut"])
def test_a_lost_shard_costs_its_units(path: Path, kind: ArrayKind, damage: str) -> None:
    values = two_shards(path, kind)
    before, chunk = hashes(path), FrameArray.open(path).chunk
    file = next(path.glob("c.1.*"))
    if damage == "deleted":
        file.unlink()
    elif damage == "index":
        content = bytearray(file.read_bytes())
        content[-12] ^= 1
        file.write_bytes(content)
    else:
        file.write_bytes(file.read_bytes()[:-5])
    first = 252 if kind != "number" else 2048

    lost = reopen_damaged(path)

    assert [rows.start for rows in FrameArray.open(path).pending()] == list(range(first, len(values), chunk))
    assert lost == (1 if kind != "number" else 3)
    fill_again(path, kind, values, chunk)
    assert hashes(path) == before


def test_an_array_of_one_unit_is_repaired(path: Path) -> None:
    values = filled(path, "number", rows=30, chunk=30)
    before = hashes(path)
    flip_a_bit(path / "c.0.0.0", 0.5)

    assert reopen_damaged(path) == 1
    fill_again(path, "number", values, 30)
    assert hashes(path) == before


def test_damage_found_during_a_repair_is_repaired(path: Path) -> None:
    values = two_shards(path, "image")
    before = hashes(path)
    flip_a_bit(path / "c.0.0.0.0", 0.5)
    assert reopen_damaged(path) == 1
    flip_a_bit(path / "c.0.0.0.0", 0.1)

    with pytest.raises(DamagedError, match="Rows 0:42"):
        fill_again(path, "image", values, 42)
    fill_again(path, "image", values, 42)

    assert hashes(path) == before


def test_an_intact_array_is_unchanged(path: Path) -> None:
    two_shards(path, "image")
    before = hashes(path)

    assert reopen_damaged(path) == 0
    assert damaged_files(path) == []
    assert hashes(path) == before
    assert unfinished_arrays(path.parent) == []


@pytest.mark.parametrize("metadata", [None, "{", '{"zarr_format": 3}'])
def test_an_array_without_metadata_is_removed(path: Path, metadata: str | None) -> None:
    values = filled(path, "label")
    before = hashes(path)
    (path / "zarr.json").unlink()
    if metadata:
        (path / "zarr.json").write_text(metadata)
    assert damaged_files(path) == [path / "zarr.json"]

    assert reopen_damaged(path) is None

    assert list(path.parent.iterdir()) == []
    fill_again(path, "label", values, 4)
    assert hashes(path) == before


KILLED = """
import os, sys, shutil, signal
from hashlib import sha256
from pathlib import Path
import numpy as np
from storage.arrays.frame_array import FrameArray, reopen_damaged, damaged_files

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")
folder = Path(sys.argv[1])
values = np.random.default_rng(0).integers(0, 256, (300, 1, 8, 8), np.uint8)

def fill(path):
    array = FrameArray.create(path, values[0], 300, 100, "image")
    for rows in array.pending():
        array.write(rows, values[rows])

def fill_damaged(path):
    if (path / "zarr.json").exists() and damaged_files(path):
        reopen_damaged(path)
    fill(path)

def damaged(path):
    shutil.copytree(folder / "whole", path)
    content = bytearray((path / "c.0.0.0.0").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "c.0.0.0.0").write_bytes(content)

def forked(work, path, events=None):
    child = os.fork()
    if child == 0:
        left = [events]
        def count(event, arguments):
            changes = arguments[1] not in ("r", "rb") if event == "open" else event in CHANGES
            if changes and str(folder) in str(arguments[0]):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        if events:
            sys.addaudithook(count)
        work(path)
        os._exit(0)
    return os.waitpid(child, 0)[1]

def content(path):
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in path.iterdir()}

assert forked(fill, folder / "whole") == 0
for work, begin in ((fill, None), (fill_damaged, damaged)):
    for events in range(1, 1000):
        path = folder / work.__name__ / str(events) / "values"
        path.parent.mkdir(parents=True)
        if begin:
            begin(path)
        status = forked(work, path, events)
        assert forked(work, path) == 0, (work, events)
        assert content(path) == content(folder / "whole"), (work, events)
        assert [file.name for file in path.parent.iterdir()] == ["values"], (work, events)
        if status == 0:
            break
        assert status == signal.SIGKILL
    print(work.__name__, events)
"""


def test_a_kill_while_filling_sealing_or_repairing_loses_no_finished_unit(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    moments = [int(line.split()[1]) for line in done.stdout.splitlines()]
    assert len(moments) == 2
    assert min(moments) > 10
