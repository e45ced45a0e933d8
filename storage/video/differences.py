"""Differences between a result and its source, one sentence each, read from both files."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise

import av

from storage.video.encoder import CODED_FIRST
from storage.video.info import is_rgb
from storage.video.inventory import Inventory, Track, VideoTrack
from storage.video.light import MasteringDisplay
from storage.video.planes import chroma_block

MANY = 6  # items of a list that are named; more are counted
NOTICEABLE = Fraction(1, 100)  # s, offset between sound and images
SAME_TIME = Fraction(1, 1_000_000)  # s
CHAPTER_TIME = Fraction(2, 1000)  # s
DATE_LENGTH = len("2025-05-01T10:00:00")  # the part of a date that every container keeps
MPEG_AUDIO = {"mp1", "mp2", "mp3"}  # equivalent: mp4 does not store the layer, and readers guess
COLORS = {  # fields of VideoInfo
    "color_primaries": "color primaries",
    "color_transfer": "transfer function",
    "color_matrix": "color matrix",
}
CHROMATICITY_STEP, LUMINANCE_STEP = Fraction(1, 20000), Fraction(1, 10000)  # coarsest of H.264, HEVC and AV1; cd/m2
UNSTATED = {0, 2}  # a color that is not tagged
SIDE_DATA_NAMES = {  # of FFmpeg's kinds of side data
    "A53_CC": "closed captions (CEA-608/708)",
    "AFD": "active format description",
    "AMBIENT_VIEWING_ENVIRONMENT": "ambient viewing environment",
    "DOVI_METADATA": "Dolby Vision metadata",
    "DOVI_RPU_BUFFER": "Dolby Vision metadata",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "FILM_GRAIN_PARAMS": "film grain parameters",
    "ICC_PROFILE": "ICC color profile",
    "S12M_TIMECODE": "timecode of each frame (SMPTE ST 12-1)",
    "SEI_UNREGISTERED": "user data in the video stream",
    "SPHERICAL": "mapping of spherical (360°) video",
    "STEREO3D": "layout of stereoscopic (3D) video",
    "UNKNOWN": "data of a kind that PyAV does not know",
}


def differences(source: Inventory, result: Inventory, encoder: str, suffix: str) -> list[str]:
    """Describe everything of `source` that is missing or different in `result`.

    Args:
        encoder: FFmpeg's name of the encoder.
        suffix: of the result, with its dot.
    """
    return [
        *_coding(source.video_track, result.video_track, encoder),
        *_fields(source.video_track, result.video_track, encoder),
        *_side_data(source.video_track, result.video_track, encoder),
        *_times(source, result, suffix),
        *_tracks(source, result, suffix),
        *_chapters(source, result),
        *_tags("The file's", source.tags, result.tags, suffix),
        *_tags("The video's", source.video_track.tags, {**result.tags, **result.video_track.tags}, suffix),
    ]


def _coding(source: VideoTrack, result: VideoTrack, encoder: str) -> Iterator[str]:
    before, after = source.info, result.info
    if before.codec != after.codec:
        yield f"The video codec {before.codec} became {after.codec}: encode.codec is {encoder}."
    if (before.width, before.height) != (after.width, after.height):
        yield f"The size {before.width}x{before.height} became {after.width}x{after.height}."
    if before.pixel_format != after.pixel_format:
        yield (
            f"The pixel format {before.pixel_format} became {after.pixel_format}, the nearest that {encoder} encodes "
            f"at {before.width}x{before.height}{_lost_samples(before.pixel_format, after.pixel_format)}."
        )
    if source.has_alpha and not result.has_alpha:
        yield (
            "The transparency (alpha) of the video was left out: the result is opaque. encode.codec=prores_ks with a "
            ".mov keeps that of ProRes 4444 and other files that FFmpeg decodes with alpha (not VP8 and VP9)."
        )
    if before.sample_aspect != after.sample_aspect and {before.sample_aspect, after.sample_aspect} != {None, (1, 1)}:
        yield f"The sample aspect ratio {before.sample_aspect} became {after.sample_aspect}."
    if before.display_matrix != after.display_matrix:
        yield f"The display matrix {before.display_matrix} was not kept: the result has {after.display_matrix}."
    for name, words in COLORS.items():
        old, new = getattr(before, name), getattr(after, name)
        if name == "color_matrix" and is_rgb(av.VideoFormat(before.pixel_format, 64, 64)):
            continue  # RGB has no matrix
        if old != new and not (old in UNSTATED and new in UNSTATED):
            stated = "unspecified" if old in UNSTATED else old
            yield f"The {words} of the video changed from {stated} to {new} (numbers of ITU-T H.273)."
    if before.color_range != after.color_range and {before.color_range, after.color_range} != {0, 1}:
        yield f"The range of the samples changed from {before.color_range} to {after.color_range} (1 limited, 2 full)."


def _lost_samples(before: str, after: str) -> str:
    old, new = (av.VideoFormat(name, 64, 64) for name in (before, after))
    lost = []
    if not old.has_palette and new.components[0].bits < old.components[0].bits:
        lost.append(f"{old.components[0].bits} bits became {new.components[0].bits}")
    if any(
        after_side > before_side for before_side, after_side in zip(chroma_block(old), chroma_block(new), strict=True)
    ):
        lost.append("chroma has a lower resolution")
    return f" ({', '.join(lost)})" if lost else ""


def _fields(source: VideoTrack, result: VideoTrack, encoder: str) -> Iterator[str]:
    first, kept = source.side_data.first_field, result.side_data.first_field
    if first is None and not source.info.interlaced:
        return
    yield (
        "The video is interlaced: faces were edited in whole frames, both fields at once, so that a face that moves "
        "fast may show combing at its edge. If that is visible, deinterlace the video first."
    )
    if first is not None and kept is None:
        yield (
            f"Frames of the result are marked as progressive, those of the source as interlaced ({first} field first): "
            f"{encoder} writes no fields. Use libx264, prores_ks or ffv1."
        )
    elif first != kept:
        yield f"The {first} field is first in the source, the {kept} field in the result."
    stated, written = (CODED_FIRST.get(track.info.field_order) for track in (source, result))
    if stated and written and stated != written:
        yield f"The header of the source says {stated} (top or bottom field first), that of the result {written}."


def _side_data(source: VideoTrack, result: VideoTrack, encoder: str) -> Iterator[str]:
    before, after = source.side_data, result.side_data
    if not _is_alike(before.light.mastering, after.light.mastering):
        yield f"The HDR10 mastering display metadata was left out: {encoder} cannot write it. Use libx264 or libx265."
    if before.light.content != after.light.content:
        yield f"The HDR10 light levels (MaxCLL, MaxFALL) were left out: {encoder} cannot write them. Use libx265."
    for words in sorted({SIDE_DATA_NAMES.get(kind, kind) for kind in before.kinds - after.kinds}):
        yield f"Not kept of the video: {words}."


def _is_alike(before: MasteringDisplay | None, after: MasteringDisplay | None) -> bool:
    """True if two displays are equal up to rounding: AV1 and HEVC use different units."""
    if before is None or after is None:
        return before is None
    points = zip(before.chromaticities, after.chromaticities, strict=True)
    levels = [(before.darkest, after.darkest), (before.brightest, after.brightest)]
    return all(abs(old - new) <= CHROMATICITY_STEP for old, new in points) and all(
        abs(old - new) <= max(LUMINANCE_STEP, old / 100) for old, new in levels
    )


def _times(source: Inventory, result: Inventory, suffix: str) -> Iterator[str]:
    before, after = source.video_track.times, result.video_track.times
    if len(before) != len(after):
        yield f"The source has {len(before)} frames there, the result {len(after)}."
        return
    moved = after[0] - before[0]
    rounded = max(abs(late - early - moved) for early, late in zip(before, after, strict=True))
    if rounded > SAME_TIME:
        yield f"Times of frames were rounded by up to {float(rounded) * 1000:.3g} ms, as {suffix} counts."
    if moved > SAME_TIME + rounded:
        yield (
            f"All times are {_ms(moved)} later than in the source: {suffix} files start at 0, and a stream of the "
            "source starts earlier."
        )
    elif moved < -SAME_TIME - rounded:
        yield f"All times are {_ms(-moved)} earlier than in the source."
    for old, new in _pairs(source.tracks, result.tracks):
        if new is None or old.extent is None or new.extent is None or old.kind != "audio":
            continue
        late = new.extent[0] - old.extent[0] - moved
        if abs(late) > NOTICEABLE:
            yield f"Stream {old.index} ({old.kind}) starts {_ms(abs(late))} {'later' if late > 0 else 'earlier'}."
        short = old.extent[1] + moved - new.extent[1]
        if short > max(NOTICEABLE, 4 * _step(before)):
            yield f"Stream {old.index} ({old.kind}) ends {_ms(short)} earlier."


def _tracks(source: Inventory, result: Inventory, suffix: str) -> Iterator[str]:
    for old, new in _pairs(source.tracks, result.tracks):
        name = f"Stream {old.index} ({', '.join(filter(None, (old.kind, old.codec, old.language)))})"
        if old.kind == "timecode":
            if result.timecode != source.timecode:
                yield f"The timecode {source.timecode} was left out: {suffix} cannot hold it."
        elif old.kind == "chapters":
            continue  # compared as chapters
        elif new is None and not old.is_empty:
            yield f"{name} was left out: {_reason(old, suffix)}"
        elif new is not None:
            yield from _track(name, old, new, suffix, result.tags)


def _track(name: str, old: Track, new: Track, suffix: str, of_file: Mapping[str, str]) -> Iterator[str]:
    if not _is_copy(old, new):
        yield f"{name} became {new.codec}, which is lossless: no output format can hold the original codec."
    if old.details != new.details:
        yield f"{name} changed: {_listed(map(str, old.details))} became {_listed(map(str, new.details))}."
    if old.language and old.language != new.language:
        yield f"{name}: its language became {new.language or 'unknown'}."
    lost = old.flags - new.flags
    if lost:
        yield f"{name}: no longer flagged as {_listed(sorted(lost))}, which {suffix} cannot hold."
    yield from _tags(f"{name}: its", old.tags, {**of_file, **new.tags}, suffix)


def _reason(track: Track, suffix: str) -> str:
    if track.kind == "video":
        return "one video stream is kept."
    if track.codec == "unknown":
        return "FFmpeg does not know its codec."
    more = "" if suffix == ".mkv" or track.kind == "data" else "; a .mkv holds more kinds"
    return f"{suffix} cannot hold it{more}."


def _pairs(source: tuple[Track, ...], result: tuple[Track, ...]) -> list[tuple[Track, Track | None]]:
    """Match each stream of the source with its copy; copies keep the order."""
    left, copies = list(result), dict[int, Track]()
    for is_match in (_is_copy, _is_sound):  # copies first; encoded sound is matched with the remaining streams
        for old in source:
            new = next((track for track in left if is_match(old, track)), None)
            if new is not None and old.index not in copies:
                left.remove(new)
                copies[old.index] = new
    return [(old, copies.get(old.index)) for old in source]


def _is_copy(old: Track, new: Track) -> bool:
    return old.kind == new.kind and (old.codec == new.codec or {old.codec, new.codec} <= MPEG_AUDIO)


def _is_sound(old: Track, new: Track) -> bool:
    return old.kind == new.kind == "audio"


def _chapters(source: Inventory, result: Inventory) -> Iterator[str]:
    before, after = source.chapters, result.chapters
    if len(before) != len(after):
        yield f"{len(before)} chapters of the source became {len(after)}."
        return
    moved = result.video_track.times[0] - source.video_track.times[0] if result.video_track.times else Fraction(0)
    for old, new in zip(before, after, strict=True):
        if (
            abs(old.start + max(moved, Fraction(0)) - new.start) > CHAPTER_TIME
            and abs(old.start - new.start) > CHAPTER_TIME
        ):
            yield f"The chapter at {float(old.start):.3f} s begins at {float(new.start):.3f} s in the result."
        if old.tags.get("title") != new.tags.get("title"):
            yield f"The chapter at {float(old.start):.3f} s lost its title {old.tags.get('title')!r}."


def _tags(owner: str, before: Mapping[str, str], after: Mapping[str, str], suffix: str) -> Iterator[str]:
    lost = [key for key, value in before.items() if not _same(value, after.get(key, ""))]
    if lost:
        yield f"{owner} tags {_listed(sorted(lost))} were not kept unchanged: {suffix} cannot hold them."


def _same(before: str, after: str) -> bool:
    return before == after or (len(before) >= DATE_LENGTH and before[:DATE_LENGTH] == after[:DATE_LENGTH])


def _step(times: tuple[Fraction, ...]) -> Fraction:
    return min((late - early for early, late in pairwise(times)), default=Fraction(0))


def _ms(seconds: Fraction) -> str:
    return f"{float(seconds) * 1000:.3g} ms"


def _listed(names: Iterator[str] | list[str]) -> str:
    every = list(names)
    more = f" and {len(every) - MANY} more" if len(every) > MANY else ""
    return ", ".join(every[:MANY]) + more
