"""Quality of inversion by its starting point: before tuning, and after the same number of tuning steps.

    python benchmarks/inversion.py CLIP... --seconds 1.2                    # before tuning
    python benchmarks/inversion.py CLIP... --edit smile=1.5 --passes 5      # and after it, with an edit
    python benchmarks/inversion.py CLIP --still                             # steadiness of codes on a still face

Each starting point is a set of options of the real stages, run on the same crops in one run. Ratios of seconds hold on
a shared machine, seconds do not. `--csv FILE` keeps the rows.
"""

import argparse
import csv
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from configs.load import load_config
from stitchedit.detect.finder import FaceFinder
from stitchedit.images.conversion import to_images, to_uint8
from stitchedit.invert import Footage, Inverter
from stitchedit.measure.metrics import identity_consistency
from stitchedit.nets.attributes import AgeAndGender, score_face
from stitchedit.nets.recognition import FaceRecognizer
from stitchedit.options.detect import DetectOptions
from stitchedit.options.edit import parse_edit
from stitchedit.options.invert import InvertOptions
from storage.arrays.frame_array import FrameArray
from storage.artifact import Source
from storage.store import Store
from tasks.align import align_faces
from tasks.decode import decode_video
from tasks.detect import detect_faces
from tasks.edit import edit_faces
from tasks.inputs.faces import open_faces
from tasks.invert import invert_faces
from tasks.occlude import find_occlusions
from tasks.runtime import networks
from tasks.runtime.memory import keep_freed_memory
from tasks.runtime.pretrained import pretrained
from tasks.tune import tune_weights, tuned_generator

WAYS = {
    "encoder alone": InvertOptions(refine_steps=0, color_steps=0, refine_passes=0),
    "encoder, refined": InvertOptions(),
    "optimised from the mean": InvertOptions(start="mean", refine_steps=120, color_steps=24, refine_passes=12),
    "the same steps from the mean": InvertOptions(start="mean"),
}
LOOKED_AT = 24  # faces, evenly over the clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--start", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=1.2, help="of each clip")
    parser.add_argument("--size", type=int, default=256, help="px of the crops")
    parser.add_argument("--ways", nargs="+", default=list(WAYS)[:3], choices=WAYS)
    parser.add_argument("--edit", help="tune, edit and measure that too, such as smile=1.5")
    parser.add_argument("--passes", type=int, default=5, help="of tuning, the same for all")
    parser.add_argument("--still", action="store_true", help="steadiness of codes on the first frames instead")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--store", type=Path, help="keep the artifacts here")
    options = parser.parse_args()
    keep_freed_memory()
    store = Store.at(options.store or Path(tempfile.mkdtemp()))
    rows: list[dict[str, object]] = []
    for clip in options.clips:
        found = crops_of(store, clip, options)
        rows += (
            still(found[1]) if options.still else [measure(store, clip, found, way, options) for way in options.ways]
        )
    names = list(dict.fromkeys(name for row in rows for name in row))
    for file in [sys.stdout, *([options.csv.open("w", newline="")] if options.csv else [])]:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def crops_of(store, clip, options):
    """The decoded clip, and the crops of its largest face."""
    overrides = [f"decode.start={options.start}", f"decode.end={options.start + options.seconds}"]
    config = load_config("default", [*overrides, f"align.size={options.size}", "detect.backend=dlib"])
    source = Source.of(clip)
    decoded = _artifact(decode_video.fn(store, source, config.decode, config.shots))
    detected = _artifact(detect_faces.fn(store, source, decoded, config.detect))
    faces = align_faces.fn(store, source, decoded, detected, config.align, "cpu")
    occluded = find_occlusions.fn(store, decoded, _artifact(faces), config.occlude, "cpu")
    return decoded, _artifact(faces), _artifact(occluded)


def measure(store, clip, crops, way, options):
    """Compute one row: `way` on one clip."""
    decoded, faces, occluded = crops
    found, judge = open_faces(faces), Judge()
    began = time.perf_counter()
    codes = _artifact(invert_faces.fn(store, faces, occluded, WAYS[way], "cpu"))
    seconds = time.perf_counter() - began
    w_plus = torch.from_numpy(FrameArray.open(codes.path / "w_plus").read())
    shown = np.unique(np.linspace(0, len(found) - 1, min(LOOKED_AT, len(found))).round().astype(int))
    source = [found.crops.read(int(row)) for row in shown]
    before = draw(networks.generator("cpu"), w_plus[shown], found.size)
    row = {"clip": clip.stem, "way": way, "faces": len(found), "invert s": round(seconds, 1)}
    row |= {"LPIPS before": judge.lpips(before, source), "distance before": judge.distance(before, source)}
    row["code step"] = round(float(np.linalg.norm(np.diff(w_plus.numpy(), axis=0), axis=2).mean()), 4)
    if options.edit:
        name, strength = parse_edit(options.edit)
        config = load_config(
            "draft", [f"tune.passes={options.passes}", "tune.patience=0", f"edit.strengths.{name}={strength}"]
        )
        began = time.perf_counter()
        weights = _artifact(tune_weights.fn(store, faces, occluded, codes, config.tune, "cpu"))
        row["tune s"] = round(time.perf_counter() - began, 1)
        edited_codes = _artifact(edit_faces.fn(store, decoded, faces, codes, config.edit, None))
        generator = tuned_generator(weights, "cpu")
        moved = torch.from_numpy(FrameArray.open(edited_codes.path / "w_plus").read())
        after, edited = draw(generator, w_plus[shown], found.size), draw(generator, moved[shown], found.size)
        row |= {"LPIPS after": judge.lpips(after, source), "distance after": judge.distance(after, source)}
        ids = identity_consistency(judge.embeddings(source), judge.embeddings(edited))
        row |= {"TL-ID": round(ids.tl_id, 4), "TG-ID": round(ids.tg_id, 4)}
        row[f"{name} change"] = judge.change(after, edited, name)
    print(row, file=sys.stderr, flush=True)
    return row


def still(faces):
    """Distance of consecutive codes: of the encoder, raw and smoothed by the stage, and optimised per frame."""
    found = open_faces(faces)
    footage = found.footage(torch.device("cpu"))
    generator, perceptual = networks.generator("cpu"), networks.perceptual("cpu")
    rows = np.arange(min(12, len(found)))
    with torch.no_grad():
        raw = networks.encoder("cpu")(footage.crops(rows))
        mean = raw.mean(dim=0, keepdim=True)
        plain = InvertOptions(refine_steps=0, color_steps=0, refine_passes=0)
        smoothed = Inverter(generator, perceptual, footage, plain).frames(mean, raw - mean, rows)
    alone = []
    for row in rows:
        single = Footage(lambda _, row=row: footage.crops(np.array([row])), footage.runs[row : row + 1], footage.size)
        options = replace(InvertOptions(), start="mean", refine_steps=60, color_steps=0, batch=1)
        start = generator.w_mean.expand(1, generator.layers, -1).clone()
        alone.append(Inverter(generator, perceptual, single, options).person(start))
    table = {"encoder, raw": raw, "encoder, smoothed": smoothed, "optimised frame by frame": torch.cat(alone)}
    return [
        {
            "codes": name,
            "mean distance of neighbours": round(float(codes.diff(dim=0).norm(dim=2).mean()), 4),
            "same over the distance from the mean code": round(
                float(codes.diff(dim=0).norm(dim=2).mean() / (codes - generator.w_mean).norm(dim=2).mean()), 4
            ),
            "LPIPS": Judge().lpips(draw(generator, codes, 256), [found.crops.read(int(row)) for row in rows]),
        }
        for name, codes in table.items()
    ]


@torch.no_grad()
def draw(generator, codes, size):
    return [to_uint8(generator(code[None], size))[0] for code in codes]


class Judge:
    """Compares lists of uint8 images, `rgb size size`."""

    def __init__(self) -> None:
        self.finder = FaceFinder(networks.landmark_networks(), DetectOptions(backend="dlib"))
        self.recognizer = FaceRecognizer(pretrained()["dlib_recognition"].verified())
        self.attributes = AgeAndGender(*(pretrained()[name].verified() for name in ("age", "gender")))

    @torch.no_grad()
    def lpips(self, generated, source):
        """Mean LPIPS on AlexNet at 256 px."""
        distances = []
        for pair in zip(generated, source, strict=True):
            small = [
                F.avg_pool2d(to_images(image[None], torch.device("cpu")), image.shape[-1] // 256) for image in pair
            ]
            distances.append(networks.perceptual("cpu")(*small).item())
        return round(float(np.mean(distances)), 4)

    def distance(self, generated, source):
        """Mean distance of dlib's descriptors; .6 or more means another person."""
        pairs = [
            (self._of(self.recognizer.describe, one), self._of(self.recognizer.describe, other))
            for one, other in zip(generated, source, strict=True)
        ]
        return round(float(np.nanmean([np.linalg.norm(one - other) for one, other in pairs])), 4)

    def embeddings(self, images):
        return np.stack([self._of(self.recognizer.embed, image) for image in images])

    def change(self, before, after, name):
        """Mean change of the score of that name."""
        pairs = [(self._score(one, name), self._score(other, name)) for one, other in zip(before, after, strict=True)]
        return round(float(np.nanmean([other - one for one, other in pairs])), 3)

    def _score(self, image, name):
        frame, landmarks = self._face(image)
        return getattr(score_face(self.attributes, frame, landmarks), name) if landmarks is not None else np.nan

    def _of(self, describe, image):
        frame, landmarks = self._face(image)
        return describe(frame, landmarks) if landmarks is not None else np.full(128, np.nan)

    def _face(self, image):
        frame = np.ascontiguousarray(image.transpose(1, 2, 0))
        faces = self.finder.find(frame)
        return frame, faces[0].landmarks if faces else None


def _artifact(result):
    """Artifact of a stage's result, which is the artifact itself or a state that contains it."""
    return getattr(result, "data", result)


if __name__ == "__main__":
    main()
