import numpy as np
import pytest

from stitchedit.images.depth import DEEP, SHALLOW, to_stored
from stitchedit.images.steady import MOTION_REACH, GeneratedFace, neighbors, smooth_rows, steady_crops

TIMES = np.array([0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28])
RUNS = np.array([0, 0, 0, 0, 0, 1, 1, 1])


def rows_of(values, sigma, times=TIMES, runs=RUNS):
    smoothed = smooth_rows(lambda row: np.array([values[row]], float), times, runs, sigma)
    return np.array([smoothed(row)[0] for row in range(len(values))])


def test_a_row_is_a_gaussian_mean_of_those_around_it():
    values = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
    weights = np.exp(-0.5 * (np.array([0.04, 0.0, -0.04, -0.08]) / 0.03) ** 2)
    assert rows_of(values, 0.03)[1] == pytest.approx((weights * values[:4]).sum() / weights.sum(), abs=1e-6)


def test_no_other_run_is_let_in():
    assert rows_of([0, 0, 0, 0, 0, 1, 1, 1], 0.1).tolist() == [0, 0, 0, 0, 0, 1, 1, 1]


def test_what_comes_and_goes_stays_where_it_is_in_time():
    smoothed = rows_of([0, 0, 1, 0, 0, 0, 0, 0], 0.03)
    np.testing.assert_allclose(smoothed[:2], smoothed[4:2:-1], atol=1e-6)
    assert smoothed.argmax() == 2


def test_seconds_count_and_not_frames():
    often = rows_of([0, 0, 0, 0, 1, 0, 0, 0], 0.03, np.arange(8) / 60, np.zeros(8))
    seldom = rows_of([0, 0, 0, 0, 1, 0, 0, 0], 0.03, np.arange(8) / 12, np.zeros(8))
    assert often[4] < 0.5 < seldom[4]


def test_nothing_is_smoothed_without_a_sigma_and_a_row_is_read_once_if_they_come_in_order():
    assert rows_of([0, 1, 0, 1, 0, 1, 0, 1], 0).tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    asked = []
    smoothed = smooth_rows(lambda row: np.array([asked.append(row) or 1.0]), TIMES, np.zeros(8), 0.03)
    for row in range(8):
        smoothed(row)
    assert asked == list(range(8))


STEP = 2  # px that the source moves from one row to the next


@pytest.fixture(scope="module")
def sources() -> np.ndarray:
    """An image that moves to the left, `row 96 96 rgb`."""
    coarse = np.random.default_rng(0).integers(60, 196, (16, 24, 3)).astype(np.float32)
    wide = np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)
    return np.stack([wide[16:112, 16 + STEP * row : 112 + STEP * row] for row in range(8)])


STILL, MOVING = np.zeros((96, 96), np.float32), np.ones((96, 96), np.float32)


def steadied(sources, before, after, sigma=0.08, runs=RUNS, moving=STILL):
    steady = steady_crops(lambda row: GeneratedFace(sources[row], before[row], after[row], moving), TIMES, runs, sigma)
    return [steady(row) for row in range(len(sources))]


MIDDLE = np.s_[24:-24, 24:-24]


def test_flicker_of_generated_faces_is_removed(sources):
    flicker = np.array([0, 8, 0, 8, 0, 8, 0, 8], np.float32)[:, None, None, None]
    before, after = sources - flicker, sources + 20.0 - flicker
    faces = steadied(sources, before, after, runs=np.zeros(8))
    offs = [float((face.after - face.source)[MIDDLE].mean()) for face in faces]
    assert np.abs(np.diff(offs)).max() < 0.35 * 8
    assert np.mean(offs) == pytest.approx(20 - 4, abs=1.0)


def test_steady_faces_do_not_change(sources):
    faces = steadied(sources, sources - 5.0, sources + 20.0)
    for row, face in enumerate(faces):
        np.testing.assert_allclose(face.before, sources[row] - 5.0, atol=1e-3)
        np.testing.assert_allclose(face.after, sources[row] + 20.0, atol=1e-3)


def test_the_grain_of_the_source_stays(sources):
    grain = np.random.default_rng(1).normal(0, 3, sources.shape)
    grainy = np.clip(sources + grain, 0, 255).astype(np.uint8)
    smooth = sources.astype(np.float32)
    (face, *_) = steadied(grainy, smooth, smooth)[3:]
    found = (face.before - smooth[3])[MIDDLE]
    assert np.corrcoef(found.ravel(), grain[3][MIDDLE].ravel())[0, 1] > 0.8
    assert found.std() > 0.5 * 3


def test_no_face_of_another_run_is_let_in(sources):
    changed = np.where(np.arange(8) < 5, 0.0, 30.0)[:, None, None, None]
    faces = steadied(sources, sources.astype(float), sources + changed)
    assert np.abs((faces[4].after - faces[4].source)[MIDDLE]).max() < 1e-3
    assert np.abs((faces[5].after - faces[5].source - 30)[MIDDLE]).max() < 1e-3


def test_a_mouth_that_opens_is_not_blurred(sources):
    opened = np.where(np.arange(8) < 3, 0.0, 90.0)[:, None, None, None]
    faces = steadied(sources, sources.astype(float), sources + opened, runs=np.zeros(8), moving=MOVING)
    assert np.abs((faces[2].after - faces[2].source)[MIDDLE]).max() < 3
    assert np.abs((faces[3].after - faces[3].source - 90)[MIDDLE]).max() < 3


def test_flicker_of_skin_is_removed_more_than_of_a_mouth(sources):
    flicker = np.array([0, 40, 0, 40, 0, 40, 0, 40], np.float32)[:, None, None, None]
    left = []
    for moving in (STILL, MOVING):
        faces = steadied(sources, sources.astype(float), sources + flicker, runs=np.zeros(8), moving=moving)
        changed = [float((face.after - face.source)[MIDDLE].mean()) for face in faces]
        left.append(np.abs(np.diff(changed)).mean())
    assert left[0] < 0.3 * 40 < left[1]


def test_nothing_is_steadied_without_a_sigma(sources):
    face = GeneratedFace(sources[0], sources[1], sources[2], STILL)
    assert steady_crops(lambda _: face, TIMES, RUNS, 0.0)(0) is face


@pytest.mark.parametrize("fps", [12, 30, 60, 240])
def test_a_face_is_asked_for_once_if_rows_come_in_order(fps):
    tiny, asked = np.zeros((16, 16, 3), np.uint8), []

    def face(row):
        asked.append(row)
        return GeneratedFace(tiny, tiny, tiny, np.zeros((16, 16), np.float32))

    steady = steady_crops(face, np.arange(200) / fps, np.zeros(200), 0.16)
    for row in range(200):
        steady(row)
    assert sorted(asked) == list(range(200))


@pytest.mark.parametrize("fps", [12, 25, 60])
def test_neighbors_are_as_many_before_as_after_and_near_in_seconds(fps):
    times, runs = np.arange(60) / fps, np.zeros(60)
    found = np.array(neighbors(30, times, runs, 0.08))
    np.testing.assert_array_equal(found - 30, 30 - found[::-1])
    assert 2 <= len(found) <= 20
    assert np.abs(times[found] - times[30]).max() <= MOTION_REACH * 0.08 + 1e-9
    assert neighbors(0, times, runs, 0.08) == (found[found > 30] - 30).tolist()


@pytest.mark.parametrize("fps", [25, 30, 60, 120])
def test_one_row_is_steadied_with_about_the_same_rows_as_the_next(fps):
    times, runs = np.arange(200) / fps, np.zeros(200)
    one, other = (set(neighbors(row, times, runs, 0.16)) | {row} for row in (100, 101))
    assert len(one & other) >= 0.75 * len(one)
    assert len(one) <= 22


def test_what_is_stored_deep_is_steadied_as_levels_and_keeps_their_fractions(sources):
    fine = sources + np.random.default_rng(3).uniform(-0.4, 0.4, sources[:1].shape).astype(np.float32)
    changed = fine + np.float32(20.37)

    def rows(dtype):
        kept = [np.stack([to_stored(one, dtype) for one in images]) for images in (fine, fine, changed)]
        return steadied(*kept, runs=np.zeros(8))

    deep, shallow = rows(DEEP), rows(SHALLOW)

    errors = [np.abs(one.after - changed[row])[MIDDLE] for row, one in enumerate(deep)]
    assert max(error.mean() for error in errors) < 0.03
    assert np.mean([np.abs(one.after - changed[row])[MIDDLE].mean() for row, one in enumerate(shallow)]) > 0.15
    assert all(one.source.dtype == np.float32 for one in deep)


def test_deep_faces_without_smoothing_come_as_levels(sources):
    codes = to_stored(sources[0] + np.float32(0.25), DEEP)
    face = steady_crops(lambda row: GeneratedFace(codes, codes, codes, STILL), TIMES, RUNS, 0.0)(0)
    np.testing.assert_allclose(face.after, sources[0] + 0.25, atol=1e-4)
