"""Assessment of damage: which frames are damaged or missing, and messages about them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from storage.video.info import VideoInfo
from storage.video.watch import Watched

# Codecs whose decoders report no error if a frame's reference frame is missing.
SILENT = {"mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "h263", "flv1"}
PARSED_AHEAD = 3  # packets by which a demuxer may set the corrupt flag too early
REORDERED = 3  # frames that may be shown before a missing one and be predicted from it
EVEN = 0.6  # minimum share of equal intervals for a longer one to count as a hole
WHOLE_STEPS = 0.9  # minimum share of intervals that are whole multiples of the median
SLACK = 0.05  # rounding of times, as a share of the median interval
FEWEST_INTERVALS = 10  # fewer do not determine the rate
RANGES_SHOWN = 5
SIGN_CHARACTERS = 80


@dataclass(frozen=True)
class Damage:
    """Damage of the selected frames. Frame numbers count from the first selected one."""

    frames: np.ndarray  # bool `frame`: damaged, or predicted from a damaged frame
    holes: np.ndarray  # bool `frame`: frames are missing between this one and the next
    lost: int  # packets without a decoded frame
    lost_pts: np.ndarray  # int64, of the lost packets that have a pts
    sign: str  # first sign of damage

    @property
    def is_any(self) -> bool:
        """True if frames are certainly damaged or lost.

        A hole may come from the recorder.
        """
        return bool(self.frames.any() or self.lost)

    def sentences(self, pts: np.ndarray, info: VideoInfo) -> list[str]:
        """Messages for the user, one or two sentences each.

        `pts` are those of the frames.
        """
        times_s = (pts - pts[0]) * float(info.tick)
        found = []
        if self.frames.any():
            found.append(
                f"{int(self.frames.sum())} of {len(pts)} frames are damaged or predicted from damaged ones: "
                f"{_named(ranges(self.frames), times_s)}. First sign: {self.sign}. Check them in the result, or set "
                "decode.damaged to skip, which leaves them unedited, or to refuse."
            )
        if self.lost:
            at = ", ".join(f"{(time - pts[0]) * float(info.tick):.2f} s" for time in self.lost_pts[:RANGES_SHOWN])
            found.append(
                f"{self.lost} frames of the file cannot be decoded and are missing from the result"
                + (f" (at {at}{', …' if len(self.lost_pts) > RANGES_SHOWN else ''})." if at else ".")
            )
        if self.holes.any():
            after = np.flatnonzero(self.holes)
            jumps = ", ".join(
                f"after frame {number} by {times_s[number + 1] - times_s[number]:.2f} s"
                for number in after[:RANGES_SHOWN]
            )
            found.append(
                f"Times jump {jumps}{', …' if len(after) > RANGES_SHOWN else ''}: frames are missing there, lost or "
                "never recorded."
            )
        return found


def assess(watched: Watched, pts: np.ndarray, selected: slice, info: VideoInfo) -> Damage:
    """Assess damage from the packets and the frames decoded from them.

    A damaged packet damages every frame that may be predicted from it: those decoded after it until the next keyframe,
    and those after the keyframe that are shown before it.

    Args:
        pts: int64, of the selected frames.
        selected: their numbers among all decoded frames.
    """
    times = np.array([_NO_TIME if time is None else time for time in watched.pts], np.int64)
    keyframe = np.array(watched.keyframe, bool)
    leading = _leading(times, keyframe)
    lost, uncounted = _lost(watched, times, pts, selected, info)
    evidence = lost & ~leading
    joined = [number for number in watched.marked if keyframe[number + 1 : number + 1 + PARSED_AHEAD].any()]
    for number in set(watched.marked) - set(joined):  # where streams were joined, the continuity counter jumps
        watched.evidence.setdefault(number, "the file marks it as damaged, or a part of it is missing")
    evidence[[number for number in watched.evidence if number < len(evidence)]] = True
    damaged = _propagated(keyframe, leading, evidence)
    before = np.concatenate([[0], np.cumsum(damaged)])
    frames = np.array([before[last + 1] > before[first] for first, last in watched.frames[selected]], bool)
    holes = _holes(pts)
    if info.codec in SILENT or watched.evidence:  # else the holes were recorded
        frames |= _predicted_across(holes, pts, times[keyframe])
    signs = [watched.evidence[number] for number in sorted(watched.evidence)] or ["frames are missing before them"]
    sign = " ".join(signs[0].split())[:SIGN_CHARACTERS].rstrip(".")
    return Damage(frames, holes, int(lost.sum()) + uncounted, np.sort(times[lost]), sign)


def ranges(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of every contiguous run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(first), int(after) - 1) for first, after in edges.reshape(-1, 2)]


_NO_TIME = np.iinfo(np.int64).min


def _lost(
    watched: Watched, times: np.ndarray, pts: np.ndarray, selected: slice, info: VideoInfo
) -> tuple[np.ndarray, int]:
    """Mask of packets whose frame is missing, and the number of further lost packets that cannot be identified."""
    shown = np.array(watched.shown, bool)
    came = np.zeros(len(times), bool)
    exact = [first for first, last in watched.frames if first == last]
    came[exact] = True
    came |= np.isin(times, times[came]) & (times != _NO_TIME)  # two fields of one frame have the same time
    guessed = len(watched.frames) - len(exact)
    missing = shown & ~came
    if info.interlaced and 0.45 <= len(watched.frames) / len(times) <= 0.55:  # a packet for each field
        return np.zeros_like(missing), 0
    if guessed:
        return np.zeros_like(missing), max(0, int(missing.sum()) - guessed)
    within = (times >= pts[0]) & (times <= pts[-1]) if selected != slice(0, len(watched.frames)) else missing
    return missing & within, 0


def _leading(times: np.ndarray, keyframe: np.ndarray) -> np.ndarray:
    """Mask of packets after a keyframe that are shown before it."""
    place = np.maximum.accumulate(np.where(keyframe, np.arange(len(times)), -1)) if len(times) else keyframe
    return np.asarray((place >= 0) & (times < times[place]) & (times != _NO_TIME))


def _propagated(keyframe: np.ndarray, leading: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    damaged = np.zeros(len(keyframe), bool)
    before = now = False  # state of the previous and of the current group
    for number in range(len(keyframe)):
        if keyframe[number]:  # FFmpeg's H.264 may decode it wrongly if it stopped inside the previous packet
            before, now = now, number > 0 and bool(evidence[number - 1])
        now = now or bool(evidence[number])
        damaged[number] = now or (before and bool(leading[number]))
    return damaged


def _holes(pts: np.ndarray) -> np.ndarray:
    """Mask of frames after which the time jumps by whole intervals, in a video with evenly spaced frames."""
    holes = np.zeros(len(pts), bool)
    intervals = np.diff(pts)
    if len(intervals) < FEWEST_INTERVALS:
        return holes
    usual = np.median(intervals)
    slack = max(1.0, SLACK * usual)
    steps = np.round(intervals / usual)
    whole = np.abs(intervals - steps * usual) <= slack * np.maximum(1, steps)
    if (whole & (steps == 1)).mean() >= EVEN and whole.mean() >= WHOLE_STEPS:
        holes[:-1] = steps > 1
    return holes


def _predicted_across(holes: np.ndarray, pts: np.ndarray, keyframe_pts: np.ndarray) -> np.ndarray:
    """Mask of frames after a hole, up to the next keyframe, and of those that may be predicted backwards across it."""
    keys = np.isin(pts, keyframe_pts)
    damaged = np.zeros(len(pts), bool)
    after = False
    for number in range(1, len(pts)):
        after = (after or bool(holes[number - 1])) and not keys[number]
        damaged[number] = after
    for hole in np.flatnonzero(holes):
        damaged[max(0, hole - REORDERED + 1) : hole + 1] = True
    return damaged


def _named(found: Sequence[tuple[int, int]], times_s: np.ndarray) -> str:
    """Format the first ranges of frames with their seconds."""
    named = [
        f"{first} ({times_s[first]:.2f} s)"
        if first == last
        else f"{first}–{last} ({times_s[first]:.2f}–{times_s[last]:.2f} s)"
        for first, last in found[:RANGES_SHOWN]
    ]
    return ", ".join(named) + (f" and {len(found) - RANGES_SHOWN} more ranges" if len(found) > RANGES_SHOWN else "")
