from pathlib import Path

import numpy as np
import pytest

from storage.errors import DamagedError, IncompleteError, MismatchError
from storage.frame_array import FrameArray, Kind, unfinished_arrays

LIKE = {
    "image": np.zeros((3, 16, 20), np.uint8),
    "label": np.zeros((16, 20), np.uint8),
    "number": np.zeros((18, 32), np.float32),
}
KINDS: list[Kind] = ["image", "label", "number"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "values"


def noise(kind: Kind, rows: int) -> np.ndarray:
    random = np.random.default_rng(rows)
    shape = (rows, *LIKE[kind].shape)
    if kind == "number":
        return random.standard_normal(shape).astype(np.float32)
    return random.integers(0, 256, shape, np.uint8)


def filled(path: Path, kind: Kind, rows: int = 10, chunk: int = 4) -> np.ndarray:
    values = noise(kind, rows)
    array = FrameArray.create(path, LIKE[kind], rows, chunk, kind)
    for part in array.pending():
        array.write(part, values[part])
    return values


def flip_a_bit(file: Path, where: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(where * len(content))] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("kind", KINDS)
def test_values_come_back_exactly(path: Path, kind: Kind) -> None:
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
def test_one_number_per_row_is_an_array_too(path: Path, dtype: type) -> None:
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


def test_a_kill_while_laying_out_starts_over(path: Path) -> None:
    FrameArray.create(path, LIKE["label"], rows=10, chunk=4, kind="label")
    (path / "zarr.json").unlink()

    assert len(list(FrameArray.create(path, LIKE["label"], 10, 4, "label").pending())) == 3


def test_a_torn_chunk_is_cleared_and_written_again(path: Path) -> None:
    array = FrameArray.create(path, LIKE["label"], rows=10, chunk=4, kind="label")
    array.write(slice(0, 4), np.ones((4, 16, 20), np.uint8))
    (path / "c.1.0.0").write_bytes(b"half a chu")
    (path / "c.1.0.abc.partial").write_bytes(b"half a")

    again = FrameArray.create(path, LIKE["label"], rows=10, chunk=4, kind="label")

    assert sorted(file.name for file in path.iterdir()) == ["c.0.0.0", "zarr.json"]
    assert next(again.pending()) == slice(4, 8)


def test_equal_values_give_equal_bytes_whatever_the_order_of_writing(tmp_path: Path) -> None:
    values = noise("image", 10)
    for name, order in {"forward": 1, "backward": -1}.items():
        array = FrameArray.create(tmp_path / name, LIKE["image"], 10, 4, "image")
        for rows in list(array.pending())[::order]:
            array.write(rows, values[rows])

    forward, backward = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("forward", "backward")
    )
    assert forward == backward


def test_a_finished_array_has_no_journal_and_takes_no_more(path: Path) -> None:
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


def test_chunks_of_zeros_are_files_too(path: Path) -> None:
    array = FrameArray.create(path, LIKE["label"], rows=4, chunk=2, kind="label")
    for rows in array.pending():
        array.write(rows, np.zeros((2, 16, 20), np.uint8))

    assert not array.read().any()
    assert (path / "c.1.0.0").exists()


def test_a_missing_chunk_is_not_zeros(path: Path) -> None:
    filled(path, "image")
    (path / "c.1.0.0.0").unlink()
    array = FrameArray.open(path)

    assert array.read(slice(0, 4)).any()
    with pytest.raises(DamagedError, match=r"Chunk 1 of .*values \(rows 4:8, file c\.1\.0\.0\.0\) is missing"):
        array.read(5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.999])
def test_a_flipped_bit_is_damage(path: Path, kind: Kind, where: float) -> None:
    filled(path, kind)
    flip_a_bit(next(path.glob("c.2.*")), where)

    with pytest.raises(DamagedError, match=r"Chunk 2 of .*values"):
        FrameArray.open(path).read()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [0, 1, 40])
def test_a_chunk_cut_short_is_damage(path: Path, kind: Kind, length: int) -> None:
    filled(path, kind)
    file = next(path.glob("c.0.*"))
    file.write_bytes(file.read_bytes()[:length])

    with pytest.raises(DamagedError, match="Chunk 0 of"):
        FrameArray.open(path).read()


def test_another_shape_in_the_same_place_is_refused(path: Path) -> None:
    FrameArray.create(path, LIKE["label"], rows=10, chunk=4, kind="label")

    with pytest.raises(MismatchError, match=r"uint8\(10, 16, 20\) in chunks of 4, but now uint8\(11, 16, 20\)"):
        FrameArray.create(path, LIKE["label"], rows=11, chunk=4, kind="label")


def test_unusable_shapes_are_refused(path: Path) -> None:
    with pytest.raises(ValueError, match=r"Images are uint8 \(channel, height, width\), got uint8\(16, 20, 3\)"):
        FrameArray.create(path, np.zeros((16, 20, 3), np.uint8), rows=10, chunk=4, kind="image")
    with pytest.raises(ValueError, match="got 0 and 4"):
        FrameArray.create(path, LIKE["label"], rows=0, chunk=4, kind="label")


def test_no_array_and_a_damaged_one_are_told_apart(path: Path) -> None:
    with pytest.raises(IncompleteError, match="no array at"):
        FrameArray.open(path)

    filled(path, "label")
    (path / "zarr.json").write_text("{")
    with pytest.raises(DamagedError, match=r"zarr\.json is damaged"):
        FrameArray.open(path)


def test_neighbouring_pixels_make_images_small(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8), (4, 3, 64, 256))
    grain = np.random.default_rng(0).integers(0, 4, ramp.shape, np.uint8)
    sizes = {}
    for kind in ("image", "label"):
        array = FrameArray.create(tmp_path / kind, ramp[0], rows=4, chunk=4, kind=kind)
        array.write(slice(0, 4), ramp + grain)
        sizes[kind] = sum(file.stat().st_size for file in (tmp_path / kind).iterdir())

    assert sizes["image"] < 0.7 * sizes["label"]
