"""From what was seen while decoding to the frames that are damaged or missing, and the sentences that say so."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from storage.video.info import VideoInfo
from storage.video.watch import Watched

# Codecs that decode a frame without a word if the one it was predicted from is missing.
SILENT = {"mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "h263", "flv1"}
PARSED_AHEAD = 3  # packets by which a demuxer marks one too early
REORDERED = 3  # frames that may be shown before a missing one and be predicted from it
EVEN = 0.6  # share of intervals that are alike, from which on a longer one is a hole
WHOLE_STEPS = 0.9  # share of intervals that are whole multiples of the usual one
SLACK = 0.05  # of the usual interval, by which times are rounded
FEWEST_INTERVALS = 10  # less say nothing of the rate
RANGES_SHOWN = 5
SIGN_CHARACTERS = 80


@dataclass(frozen=True)
class Damage:
    """What is wrong with the selected frames. Numbers count from the first of them."""

    frames: np.ndarray  # bool `frame`: damaged, or predicted from what is
    holes: np.ndarray  # bool `frame`: frames are missing between this one and the next
    lost: int  # packets of which no frame came
    lost_pts: np.ndarray  # int64, of those that have one
    sign: str  # the first that was seen

    @property
    def is_any(self) -> bool:
        """Whether anything is damaged or lost for certain; a hole may be of the recorder's making."""
        return bool(self.frames.any() or self.lost)

    def sentences(self, pts: np.ndarray, info: VideoInfo) -> list[str]:
        """What a user should know, a sentence or two each. `pts` are those of the frames."""
        times_s = (pts - pts[0]) * float(info.tick)
        found = []
        if self.frames.any():
            found.append(
                f"{int(self.frames.sum())} of {len(pts)} frames are damaged or made of damaged ones: "
                f"{_named(ranges(self.frames), times_s)}. First sign: {self.sign}. Look at them in the result, or set "
                "decode.damaged to skip, which leaves them unedited, or to refuse."
            )
        if self.lost:
            at = ", ".join(f"{(one - pts[0]) * float(info.tick):.2f} s" for one in self.lost_pts[:RANGES_SHOWN])
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
    """What the packets, and the frames that came of them, say about damage.

    A damaged packet damages every frame that may be predicted from it: those decoded after it until the next keyframe,
    and those after the keyframe that are shown before it.

    Args:
        pts: int64, of the selected frames.
        selected: their numbers among the frames that came out.
    """
    times = np.array([_NO_TIME if time is None else time for time in watched.pts], np.int64)
    keyframe = np.array(watched.keyframe, bool)
    leading = _leading(times, keyframe)
    lost, uncounted = _lost(watched, times, pts, selected, info)
    evidence = lost & ~leading
    joined = [number for number in watched.marked if keyframe[number + 1 : number + 1 + PARSED_AHEAD].any()]
    for number in set(watched.marked) - set(joined):  # where one stream follows another, the count of parts jumps
        watched.evidence.setdefault(number, "the file marks it as damaged, or a part of it is missing")
    evidence[[number for number in watched.evidence if number < len(evidence)]] = True
    damaged = _propagated(keyframe, leading, evidence)
    before = np.concatenate([[0], np.cumsum(damaged)])
    frames = np.array([before[last + 1] > before[first] for first, last in watched.frames[selected]], bool)
    holes = _holes(pts)
    if info.codec in SILENT or watched.evidence:  # else the times are the recorder's own
        frames |= _predicted_across(holes, pts, times[keyframe])
    signs = [watched.evidence[number] for number in sorted(watched.evidence)] or ["frames are missing before them"]
    sign = " ".join(signs[0].split())[:SIGN_CHARACTERS].rstrip(".")
    return Damage(frames, holes, int(lost.sum()) + uncounted, np.sort(times[lost]), sign)


def ranges(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last number of every unbroken run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(first), int(after) - 1) for first, after in edges.reshape(-1, 2)]


_NO_TIME = np.iinfo(np.int64).min


def _lost(
    watched: Watched, times: np.ndarray, pts: np.ndarray, selected: slice, info: VideoInfo
) -> tuple[np.ndarray, int]:
    """Packets of which a frame should have come and did not, bool; and how many more there are, one knows not which."""
    shown = np.array(watched.shown, bool)
    came = np.zeros(len(times), bool)
    exact = [first for first, last in watched.frames if first == last]
    came[exact] = True
    came |= np.isin(times, times[came]) & (times != _NO_TIME)  # two fields of one frame share its time
    guessed = len(watched.frames) - len(exact)
    missing = shown & ~came
    if info.interlaced and 0.45 <= len(watched.frames) / len(times) <= 0.55:  # a packet for each field
        return np.zeros_like(missing), 0
    if guessed:
        return np.zeros_like(missing), max(0, int(missing.sum()) - guessed)
    within = (times >= pts[0]) & (times <= pts[-1]) if selected != slice(0, len(watched.frames)) else missing
    return missing & within, 0


def _leading(times: np.ndarray, keyframe: np.ndarray) -> np.ndarray:
    """Packets after a keyframe that are shown before it, bool."""
    place = np.maximum.accumulate(np.where(keyframe, np.arange(len(times)), -1)) if len(times) else keyframe
    return np.asarray((place >= 0) & (times < times[place]) & (times != _NO_TIME))


def _propagated(keyframe: np.ndarray, leading: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    damaged = np.zeros(len(keyframe), bool)
    before = now = False  # the state of the group before, and of the present one
    for number in range(len(keyframe)):
        if keyframe[number]:  # FFmpeg's H.264 may decode it wrongly if it stopped in the middle of the packet before
            before, now = now, number > 0 and bool(evidence[number - 1])
        now = now or bool(evidence[number])
        damaged[number] = now or (before and bool(leading[number]))
    return damaged


def _holes(pts: np.ndarray) -> np.ndarray:
    """Frames after which the time jumps by whole intervals, in a video whose frames are evenly spaced."""
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
    """Frames after a hole, up to the next keyframe, and those that may have been predicted backwards across it."""
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
    """Ranges of frames and their seconds, the first few."""
    named = [
        f"{first} ({times_s[first]:.2f} s)"
        if first == last
        else f"{first}–{last} ({times_s[first]:.2f}–{times_s[last]:.2f} s)"
        for first, last in found[:RANGES_SHOWN]
    ]
    return ", ".join(named) + (f" and {len(found) - RANGES_SHOWN} more ranges" if len(found) > RANGES_SHOWN else "")
