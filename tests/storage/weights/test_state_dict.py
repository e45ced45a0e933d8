import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from storage.artifact import file_sha256
from storage.errors import DamagedError
from storage.weights.state_dict import load_tensors, read_metadata, save_tensors

TENSORS = {
    "conv.weight": np.random.default_rng(0).standard_normal((4, 3, 3)).astype(np.float32),
    "conv.bias": np.zeros(4, np.float32),
    "step": np.array(7),
    "mask": np.array([True, False]),
}
METADATA = {name: name.upper() for name in ("revision", "base", "stage", "café")}


def test_tensors_and_metadata_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    save_tensors(path, TENSORS, METADATA)

    found = load_tensors(path)

    assert found.keys() == TENSORS.keys()
    for name, values in TENSORS.items():
        np.testing.assert_array_equal(found[name], values, strict=True)
    assert read_metadata(path) == METADATA


def test_transposed_and_sliced_arrays_keep_their_values(tmp_path: Path) -> None:
    matrix = np.arange(12.0).reshape(3, 4)
    save_tensors(tmp_path / "t", {"turned": matrix.T, "sliced": matrix[::2, 1:]}, {})

    found = load_tensors(tmp_path / "t")

    np.testing.assert_array_equal(found["turned"], matrix.T)
    np.testing.assert_array_equal(found["sliced"], matrix[::2, 1:])


def test_equal_tensors_give_equal_bytes_in_another_process(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from storage.weights.state_dict import save_tensors\n"
        "names = [f'name{i}' for i in range(12)]\n"
        "save_tensors(Path(sys.argv[1]), {n: np.ones(3) for n in names}, {n: n for n in names})"
    )
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        subprocess.run([sys.executable, "-c", script, path], check=True)

    assert file_sha256(paths[0]) == file_sha256(paths[1])


def test_no_partial_file_is_left(tmp_path: Path) -> None:
    save_tensors(tmp_path / "t", TENSORS, METADATA)

    assert [path.name for path in tmp_path.iterdir()] == ["t"]


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_file_is_damage(tmp_path: Path, length: int) -> None:
    path = tmp_path / "t"
    save_tensors(path, TENSORS, METADATA)
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(DamagedError, match="not a whole safetensors file"):
        load_tensors(path)
    with pytest.raises(DamagedError, match="not a whole safetensors file"):
        read_metadata(path)


def test_a_missing_file_is_damage(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="is gone"):
        load_tensors(tmp_path / "t")
    with pytest.raises(DamagedError, match="is gone"):
        read_metadata(tmp_path / "t")
