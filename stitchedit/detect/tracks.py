"""Linking of detections into tracks, and of tracks into persons.

A track never crosses a cut and never spans a gap that is not filled; one person may have many tracks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from scipy.optimize import linear_sum_assignment

from stitchedit.arrays import Boxes, Flags, Landmarks
from stitchedit.detect.finder import Detection, overlaps
from stitchedit.errors import NoFaceError
from stitchedit.nets.recognition import SAME_PERSON
from stitchedit.options.detect import DetectOptions

OTHER_PERSON = 0.8  # distance of descriptors that one person does not reach, even with a hand before the face
OTHER_LOOK = 25.0  # change of look from one frame to the next that a hand before the face does not reach
IMPOSSIBLE = 1e6  # cost of a pair that must not be


@dataclass(frozen=True)
class DroppedTrack:
    """A track dropped as a false detection, with the reason."""

    first_frame: int
    last_frame: int
    detections: int
    reason: str


@dataclass(frozen=True, eq=False)
class Tracks:
    """One row per face, ordered by track, then frame. Persons are numbered by their total area, 0 = the largest."""

    frame: np.ndarray  # `face`, number of the frame
    track: np.ndarray  # `face`, 0, 1, … in order of first frame
    person: np.ndarray  # `face`
    landmarks: Landmarks
    box: Boxes
    confidence: np.ndarray  # `face`; NaN where interpolated
    interpolated: Flags
    frames: int  # of the clip, with and without a face
    descriptors: np.ndarray  # `track 128`, mean of each track in dlib's scale
    dropped: tuple[DroppedTrack, ...] = ()

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def persons(self) -> list[int]:
        return np.unique(self.person).tolist()  # type: ignore[no-any-return]

    def frames_without_face(self) -> np.ndarray:
        """Frames that no track covers; they pass through untouched."""
        return np.setdiff1d(np.arange(self.frames), self.frame)


@dataclass
class _Track:
    shot: int
    frames: list[int] = field(default_factory=list)
    faces: list[Detection] = field(default_factory=list)

    @property
    def descriptor(self) -> np.ndarray:
        """Mean descriptor of the track. In dlib's scale it is a descriptor of that person."""
        return np.mean([face.descriptor for face in self.faces], axis=0)  # type: ignore[no-any-return]


class Tracker:
    """Link detections of every frame of a clip, in order, also of those without a face."""

    def __init__(self, options: DetectOptions) -> None:
        self.options = options
        self._first_frame: int | None = None
        self._times_s: list[float] = []
        self._shots: dict[int, tuple[int, int]] = {}  # first and last frame
        self._open: list[_Track] = []
        self._closed: list[_Track] = []

    def add(self, frame: int, time_s: float, shot: int, detections: Sequence[Detection]) -> None:
        """Add the faces of the next frame. `time_s` is its presentation time, `shot` the number of its shot."""
        if self._first_frame is None:
            self._first_frame = frame
        if frame != self._first_frame + len(self._times_s):
            raise ValueError(f"Frame {frame} came after frame {self._first_frame + len(self._times_s) - 1}.")
        self._times_s.append(time_s)
        self._shots[shot] = self._shots.get(shot, (frame, frame))[0], frame

        still_open = [t for t in self._open if t.shot == shot and not self._is_over(t, frame)]
        self._closed += [track for track in self._open if track not in still_open]
        self._open = still_open

        taken = set()
        for track_index, face_index in self._assign(detections):
            self._open[track_index].frames.append(frame)
            self._open[track_index].faces.append(detections[face_index])
            taken.add(face_index)
        fresh = [detection for index, detection in enumerate(detections) if index not in taken]
        self._open += [_Track(shot, [frame], [detection]) for detection in fresh]

    def finish(self) -> Tracks:
        """All tracks of the clip, gaps filled, false detections dropped, persons numbered.

        Raises:
            NoFaceError: no track is left.
        """
        self._closed, self._open = self._closed + self._open, []
        found = sorted(self._closed, key=lambda track: track.frames[0])
        reasons = [self._why_false(track) for track in found]
        dropped = tuple(
            DroppedTrack(track.frames[0], track.frames[-1], len(track.frames), reason)
            for track, reason in zip(found, reasons, strict=True)
            if reason
        )
        kept = [track for track, reason in zip(found, reasons, strict=True) if not reason]
        if not kept:
            raise NoFaceError(
                f"No face in {len(self._times_s)} frames ({len(dropped)} short or doubtful tracks were dropped). Lower "
                "detect.min_confidence, detect.min_face_px, detect.sure_confidence or detect.min_length_s."
            )
        return self._to_rows(kept, _persons(kept, self.options.same_person), dropped)

    def _is_over(self, track: _Track, frame: int) -> bool:
        """Compare the gap since the last detection with the longest allowed one.

        Two neighboring frames have no gap, however long the first one lasts."""
        last = track.frames[-1]
        return frame > last + 1 and self._time(frame) - self._time(last) > self.options.max_gap_s + 1e-6

    def _time(self, frame: int) -> float:
        assert self._first_frame is not None
        return self._times_s[frame - self._first_frame]

    def _length_s(self, first: int, last: int) -> float:
        """Duration of frames first to last, s; the clip's last one counts as long as the one before it."""
        assert self._first_frame is not None
        times_s, end = self._times_s, last - self._first_frame + 1
        following = times_s[end] if end < len(times_s) else 2 * times_s[-1] - times_s[max(0, len(times_s) - 2)]
        return following - self._time(first)

    def _assign(self, detections: Sequence[Detection]) -> list[tuple[int, int]]:
        """Pair open tracks with detections: as many as possible, at the lowest cost."""
        if not (self._open and detections):
            return []
        iou = overlaps(
            np.stack([track.faces[-1].box for track in self._open]), np.stack([face.box for face in detections])
        )
        last = np.stack([track.faces[-1].descriptor for track in self._open])
        distance = np.linalg.norm(last[:, None] - np.stack([face.descriptor for face in detections]), axis=2)
        changed = np.array([[track.faces[-1].change_of_look(face) for face in detections] for track in self._open])
        # A hand before the face changes the descriptor, a quick turn the place: one of the two has to agree. Another
        # person in the same place, after a cut that nobody saw, changes descriptor and look at once.
        farthest = np.where(changed < OTHER_LOOK, OTHER_PERSON, SAME_PERSON)
        in_place = (iou >= self.options.min_iou) & (distance < farthest)
        possible = in_place | (distance < self.options.same_person)
        cost = np.where(possible, (1 - iou) + distance / SAME_PERSON, IMPOSSIBLE)
        pairs = zip(*linear_sum_assignment(cost), strict=True)
        return [(int(track), int(face)) for track, face in pairs if cost[track, face] < IMPOSSIBLE]

    def _why_false(self, track: _Track) -> str:
        length_s, shot_s = self._length_s(track.frames[0], track.frames[-1]), self._length_s(*self._shots[track.shot])
        if length_s < min(self.options.min_length_s, shot_s) - 1e-6:
            return f"{length_s:.2f} s is shorter than detect.min_length_s"
        best = max(face.confidence for face in track.faces)
        if best < self.options.sure_confidence:
            return f"confidence {best:.2f} never reaches detect.sure_confidence"
        return ""

    def _to_rows(self, kept: list[_Track], persons: list[int], dropped: tuple[DroppedTrack, ...]) -> Tracks:
        frames = [np.arange(track.frames[0], track.frames[-1] + 1) for track in kept]
        counts = [len(numbers) for numbers in frames]
        confidence = [self._confidence(track, numbers) for track, numbers in zip(kept, frames, strict=True)]
        return Tracks(
            frame=np.concatenate(frames),
            track=np.repeat(np.arange(len(kept)), counts),
            person=np.repeat(persons, counts),
            landmarks=np.concatenate([self._fill(track, [face.landmarks for face in track.faces]) for track in kept]),
            box=np.concatenate([self._fill(track, [face.box for face in track.faces]) for track in kept]),
            confidence=np.concatenate(confidence),
            interpolated=np.isnan(np.concatenate(confidence)),
            frames=len(self._times_s),
            descriptors=np.stack([track.descriptor for track in kept]),
            dropped=dropped,
        )

    def _confidence(self, track: _Track, frames: np.ndarray) -> np.ndarray:
        values = np.full(len(frames), np.nan)
        values[np.array(track.frames) - frames[0]] = [face.confidence for face in track.faces]
        return values

    def _fill(self, track: _Track, values: Sequence[np.ndarray]) -> np.ndarray:
        """Interpolate `values` linearly in time, for every frame of the track."""
        known = np.stack(values)
        known_s = np.array([self._time(frame) for frame in track.frames])
        wanted_s = np.array([self._time(frame) for frame in range(track.frames[0], track.frames[-1] + 1)])
        flat = known.reshape(len(known), -1)
        filled = [np.interp(wanted_s, known_s, column) for column in flat.T]
        return np.stack(filled, axis=1).reshape(-1, *known.shape[1:])


def _persons(tracks: Sequence[_Track], same_person: float) -> list[int]:
    """Person of each track, by agglomerative clustering of tracks that are never in one frame."""
    groups = [[index] for index in range(len(tracks))]
    frames = [set(track.frames) for track in tracks]
    descriptors = np.stack([track.descriptor for track in tracks])
    lengths = np.array([len(track.frames) for track in tracks], dtype=float)

    def distance(pair: tuple[list[int], list[int]]) -> float:
        if any(frames[a] & frames[b] for a in pair[0] for b in pair[1]):
            return np.inf
        mean_a, mean_b = (np.average(descriptors[group], axis=0, weights=lengths[group]) for group in pair)
        return float(np.linalg.norm(mean_a - mean_b))

    while len(groups) > 1:
        nearest = min(combinations(groups, 2), key=distance)
        if distance(nearest) >= same_person:
            break
        groups = [group for group in groups if group not in nearest] + [nearest[0] + nearest[1]]

    areas = [sum(float(np.prod(face.box[2:] - face.box[:2])) for face in track.faces) for track in tracks]
    groups.sort(key=lambda group: -sum(areas[index] for index in group))
    numbers = {index: person for person, group in enumerate(groups) for index in group}
    return [numbers[index] for index in range(len(tracks))]
