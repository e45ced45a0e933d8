"""Detection of clips in a folder: by suffix, and by content if the suffix is ambiguous."""

from functools import cache
from pathlib import Path

import av
from av.format import ContainerFormat
from av.stream import Disposition

from storage.errors import VideoError
from storage.video.info import open_video

_VIDEOS = (
    ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .gif .m1v .m2t .m2ts .m2v .m4v .mk3d .mkv .mod .mov .mp4 .mpe .mpeg .mpg "
    ".mts .mxf .ogm .ogv .qt .rmvb .tod .trp .ts .vob .webm .wmv .y4m"
)
VIDEOS = frozenset(_VIDEOS.split())
"""Suffixes of videos; such files are not opened to check."""

PLAYLIST = "a playlist, which is no clip but names others"
KINDS = {  # other files that FFmpeg has a demuxer for: kind and suffixes
    PLAYLIST: ".m3u .m3u8 .ffconcat .concat .mpd .ism .isml .pls .sdp .xspf .cue",
    "sound without an image": ".aac .ac3 .aif .aifc .aiff .amr .ape .au .caf .dts .eac3 .flac .m4a .m4b .mka .mp2 .mp3 "
    ".mpa .oga .opus .ra .tta .voc .w64 .wav .wma .wv",
    "subtitles": ".ass .idx .lrc .mks .scc .smi .srt .ssa .stl .sub .sup .ttml .vtt .webvtt",
    "text": ".ans .asc .diz .ffmeta .htm .html .ice .json .log .md .nfo .pdf .txt .vt .xml",  # `tty` shows it as video
    "a still image": ".avif .bmp .dng .dpx .exr .fits .heic .heif .ico .j2k .jp2 .jpeg .jpg .jxl .mpo .png .psd .svg "
    ".tga .tif .tiff .webp",
}
NO_CLIPS = {suffix: kind for kind, suffixes in KINDS.items() for suffix in suffixes.split()}


def why_no_clip(path: Path) -> str | None:
    """Reason why a file of a folder is not a clip, or None for a clip.

    Files with an ambiguous suffix, such as `.dat`, are opened and must contain video.
    """
    reason = why_no_suffix(path.suffix)
    if reason or path.suffix.lower() in VIDEOS:
        return reason
    try:
        with open_video(path) as container:
            images = [stream for stream in container.streams.video if stream.codec_context is not None]
            if any(not stream.disposition & Disposition.attached_pic for stream in images):
                return None
    except (VideoError, OSError):
        return f"{path.suffix} is read, but this is no video"
    return "no video in it"


def why_no_suffix(suffix: str) -> str | None:
    """Reason why files with this suffix are not clips, or None if they may be."""
    suffix = suffix.lower()
    if not suffix:
        return "no suffix"
    if suffix in VIDEOS or (suffix not in NO_CLIPS and suffix in _known_suffixes()):
        return None
    return NO_CLIPS.get(suffix, f"no suffix of a video: name the file in full if it is one ({suffix})")


def is_playlist(suffix: str) -> bool:
    """True if files with this suffix list other files to be read."""
    return NO_CLIPS.get(suffix.lower()) == PLAYLIST


@cache
def _known_suffixes() -> frozenset[str]:
    """Suffixes of all demuxers.

    For one without any, such as mpegts, those of its muxer.
    """
    found: set[str] = set()
    for name in av.formats_available - {"image2"}:  # single images
        try:
            read = ContainerFormat(name, "r").extensions
        except ValueError:  # written only
            continue
        try:
            found |= read or ContainerFormat(name, "w").extensions
        except ValueError:  # read only, and detected by content
            continue
    return frozenset(f".{suffix}" for suffix in found)
