"""Restriction of FFmpeg to single local files: a clip's key is computed from the bytes of its one file."""

import codecs
import re
from functools import cache
from pathlib import Path

import av

from storage.errors import UnreadableVideoError

# Demuxers that open other files or addresses than the given one, or that execute its content.
READ_ELSEWHERE = frozenset(
    {
        *("avisynth", "concat", "dash", "dvdvideo", "hls", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp", "vapoursynth"),
        *("vobsub", "webm_dash_manifest", "tty", "alias_pix", "brender_pix"),
    }
)
PLAYLIST = re.compile(rb"\s*(#EXTM3U|ffconcat version|\[playlist\]|<\?wpl|<asx|v=0\r?\n[a-z]=|<smil)", re.IGNORECASE)
MANIFEST = re.compile(rb"<(\w+:)?(MPD|CompositionPlaylist|SmoothStreamingMedia|playlist|smil)[\s>]")
HEAD_BYTES = 4096


def reading_options() -> dict[str, str]:
    """Options of `av.open` for one local file: no address, no list of files, no numbered images."""
    return {
        "protocol_whitelist": "file",
        "format_whitelist": _single_file_formats(),
        "pattern_type": "none",  # for numbered images: take the name literally
    }


def refuse_playlist(path: Path) -> None:
    """Reject a text file that lists other files, whatever its suffix.

    Raises:
        UnreadableVideoError: it is a playlist.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        head = head.decode("utf-16", errors="replace").encode()
    head = head.removeprefix(codecs.BOM_UTF8)
    if PLAYLIST.match(head) or (head.lstrip().startswith(b"<") and MANIFEST.search(head)):
        raise UnreadableVideoError(
            f"{path.name}: a playlist is not a clip: it names other files, which may change without it. Give one of "
            "those files, or join them first: `ffmpeg -i IN -c copy OUT.mkv`."
        )


@cache
def _single_file_formats() -> str:
    """Comma-separated names of all other demuxers.

    A demuxer has several names, of which one is enough.
    """
    names = {name for names in av.formats_available for name in names.split(",")}
    return ",".join(sorted(names - READ_ELSEWHERE))
