import os
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from storage.artifact import Artifact, Recipe, Source
from storage.errors import UnreadableVideoError

RECIPE = Recipe("align", 1, {"sigma": 3.0, "side": 1.0}, {"landmarks": "fbdc"}, {"clip": "01ab"})


@dataclass(frozen=True)
class Camera:
    fps: float = 30.0


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "stitch"},
        {"revision": 2},
        {"options": {"sigma": 3.5, "side": 1.0}},
        {"options": {"sigma": 3.0}},
        {"networks": {"landmarks": "fbdd"}},
        {"inputs": {"clip": "01ac"}},
        {"inputs": {"video": "01ab"}},
    ],
)
def test_key_changes_with_each_part(change: dict[str, Any]) -> None:
    assert replace(RECIPE, **change).key != RECIPE.key


def test_key_is_16_hex_digits_and_independent_of_order() -> None:
    assert len(RECIPE.key) == 16
    assert int(RECIPE.key, 16)
    assert replace(RECIPE, options={"side": 1.0, "sigma": 3.0}).key == RECIPE.key


def test_tuples_and_dataclasses_count_as_lists_and_mappings() -> None:
    rich = replace(RECIPE, options={"layers": (1, 2), "camera": Camera()})
    plain = replace(RECIPE, options={"layers": [1, 2], "camera": {"fps": 30.0}})

    assert rich.key == plain.key


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_number_that_is_not_finite_is_named(number: float) -> None:
    with pytest.raises(ValueError, match=r"align\.camera\.fps is (nan|inf)"):
        replace(RECIPE, options={"camera": Camera(fps=number)})


@pytest.mark.parametrize("value", [{1, 2}, Path("clip.mp4"), {1: "one"}, Camera, b"raw"])
def test_option_without_canonical_json_is_rejected(value: object) -> None:
    with pytest.raises(TypeError, match=r"align\.layers\[0\]"):
        replace(RECIPE, options={"layers": [value]})


@pytest.mark.parametrize("stage", ["", "../align", "Align", "two words", "staging", "leases", "runs"])
def test_stage_name_that_is_not_a_valid_folder_is_rejected(stage: str) -> None:
    with pytest.raises(ValueError, match="A stage is one word"):
        replace(RECIPE, stage=stage)


def test_ticket_is_small_and_survives_pickling() -> None:
    ticket = Artifact(Path("/data/store"), "align", RECIPE.key, "f" * 64)

    assert pickle.loads(pickle.dumps(ticket)) == ticket
    assert len(pickle.dumps(ticket)) < 1000
    assert ticket.path == Path("/data/store/align") / RECIPE.key


def test_source_moved_and_touched_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"frames")
    before = Source.of(path)

    os.utime(path, (0, 0))
    moved = path.rename(tmp_path / "other.mp4")

    assert Source.of(moved).digest == before.digest
    moved.write_bytes(b"Frames")
    assert Source.of(moved).digest != before.digest


def test_source_that_is_not_a_file_is_rejected_with_a_reason(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()

    with pytest.raises(UnreadableVideoError, match="is a folder"):
        Source.of(tmp_path)
    with pytest.raises(UnreadableVideoError, match=r"no file .*missing\.mp4"):
        Source.of(tmp_path / "missing.mp4")
    with pytest.raises(UnreadableVideoError, match="0 bytes"):
        Source.of(empty)
