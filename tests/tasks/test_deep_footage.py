"""Footage of 10 and 12 bits, SDR and HDR, through compositing and encoding: its depth stays, inside the face too."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from stitchedit.composite import patch_from
from stitchedit.images.depth import DEEP, SHALLOW, to_levels, to_stored
from stitchedit.images.warp import crop_face
from stitchedit.options.composite import CompositeOptions
from stitchedit.options.masks import MaskOptions
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact, Source
from storage.video.index import Clip, index_frames, read_frames
from storage.video.info import probe
from storage.video.levels import levels
from storage.video.planes import writable_planes
from storage.video.writer import EncodeOptions
from tasks.composite import composite_faces
from tasks.encode import encode_video
from tasks.inputs.clip import save_clip, save_rows
from tasks.inputs.edited_frames import frame_editor

SIDE, FRAMES, SIZE = 360, 3, 256  # px of the frame, and of a crop
QUAD = np.array([(30.0, 30), (30, 330), (330, 330), (330, 30)])
MIDDLE = np.s_[120:240, 120:240]  # of the frame, where the edit changes much
SDR, PQ, HLG = (1, 1, 1), (9, 16, 9), (9, 18, 9)  # primaries, transfer, matrix


@dataclass(frozen=True)
class Footage:
    """A kind of file."""

    codec: str
    pixel_format: str
    suffix: str = ".mp4"
    colors: tuple[int, int, int] = SDR
    full: bool = False

    @property
    def depth(self) -> int:
        return int(av.VideoFormat(self.pixel_format, 64, 64).components[0].bits)


OPTIONS = {
    "libx265": {"x265-params": "lossless=1:log-level=error", "preset": "ultrafast"},
    "libsvtav1": {"crf": "4", "preset": "12"},
    "libx264": {"crf": "0", "preset": "ultrafast"},
    "prores_ks": {"profile": "3"},
    "ffv1": {},
}
FULL10 = Footage("libx265", "yuv420p10le", full=True)
DEEP_KINDS = [
    Footage("libx265", "yuv420p10le"),
    Footage("libx265", "yuv420p12le", ".mkv"),
    Footage("libsvtav1", "yuv420p10le", ".mkv"),
    Footage("prores_ks", "yuv422p10le", ".mov"),
    Footage("ffv1", "gbrp10le", ".mkv"),
    Footage("libx265", "yuv420p10le", ".mp4", PQ),
    Footage("libx265", "yuv420p10le", ".mp4", HLG),
]


def name(kind: Footage) -> str:
    return f"{kind.codec} {kind.pixel_format} {kind.colors[1]}"


def ramp() -> np.ndarray:
    """From black to white across the face, in [0, 1]. It stands still: a ramp's motion cannot be seen."""
    y, x = np.indices((SIDE, SIDE)) - 30.0
    return np.clip((0.9 * x + 0.1 * y) / 300, 0, 1)


def write_clip(path: Path, kind: Footage) -> None:
    """The ramp, gray, as the samples of `kind`."""
    with av.open(str(path), "w") as target:
        video = target.add_stream(kind.codec, rate=30, width=SIDE, height=SIDE, options=OPTIONS[kind.codec])
        video.pix_fmt, context = kind.pixel_format, video.codec_context
        context.color_primaries, context.color_trc, context.colorspace = kind.colors
        context.color_range = 2 if kind.full else 1
        for number in range(FRAMES):
            frame = av.VideoFrame(SIDE, SIDE, kind.pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, 30)
            for index, plane in enumerate(frame.planes):
                values = np.full((plane.height, plane.line_size // (1 + (kind.depth > 8))), 1 << (kind.depth - 1))
                if index == 0 or kind.pixel_format.startswith("gbrp"):
                    values[:, :SIDE] = np.rint(codes(ramp(), kind))
                plane.update(values.astype(np.uint8 if kind.depth == 8 else np.uint16).tobytes())
            target.mux(video.encode(frame))
        target.mux(video.encode(None))


def codes(value: np.ndarray, kind: Footage) -> np.ndarray:
    """Codes of luma or RGB in [0, 1], not rounded."""
    unit = 1 << (kind.depth - 8)
    full = kind.full or kind.pixel_format.startswith("gbrp")
    return value * ((1 << kind.depth) - 1) if full else (16 + 219 * value) * unit


def bump() -> np.ndarray:
    """A smooth change in the middle of a crop, in 8-bit levels: far more than keeps the frame's detail."""
    y, x = (np.indices((SIZE, SIZE)) - SIZE / 2 + 0.5) / SIZE
    return np.asarray(70 * np.exp(-(((x**2 + y**2) / 0.06) ** 2)))[..., None] * np.array([1, 0.9, 0.8])


@dataclass(frozen=True)
class Edited:
    """What the stages before compositing would have left of `kind`, with an edit in it, and compositing itself."""

    clip: Clip
    source: Source
    folder: Path

    def artifact(self, stage: str) -> Artifact:
        return Artifact(self.folder, stage, "made", "")

    def write(self, stage: str, array: str, values: np.ndarray, kind: str) -> None:
        made = FrameArray.create(self.artifact(stage).path / array, values[0], len(values), len(values), kind)
        made.write(slice(0, len(values)), values)

    def samples(self, frames: Clip) -> list[list[np.ndarray]]:
        return [
            [plane.astype(int) for plane in writable_planes(frame, frames.info).samples]
            for _, frame in read_frames(frames)
        ]

    def encoded(self, options: EncodeOptions, rerun_stage: Callable[..., None]) -> Clip:
        """The result, as read from its file."""
        folder = self.folder / "encode"
        folder.mkdir()
        given = (self.artifact("decode"), (self.artifact("align"),), (self.artifact("composite"),))
        rerun_stage(encode_video, folder, self.source, *given, options, ".mkv")
        info = probe(folder / "video.mkv")
        return Clip(folder / "video.mkv", info, index_frames(folder / "video.mkv", info))

    def alpha(self, number: int) -> np.ndarray:
        """Of the whole frame, in [0, 1]."""
        layers, places = (FrameArray.open(self.artifact("composite").path / name) for name in ("patches", "places"))
        patch = patch_from(layers.read(number), tuple(places.read(number)))
        whole = np.zeros((SIDE, SIDE), np.float32)
        height, width = patch.alpha.shape
        whole[patch.top : patch.top + height, patch.left : patch.left + width] = patch.opacity
        return whole


@pytest.fixture
def edited(tmp_path: Path, rerun_stage: Callable[..., None]) -> Callable[[Footage, np.ndarray | float], Edited]:
    """`edited(kind, change)` composites a face whose generator knows only the coarse of it, and adds `change`."""

    def make(kind: Footage, change: np.ndarray | float) -> Edited:
        path = tmp_path / f"clip{kind.suffix}"
        write_clip(path, kind)
        info = probe(path)
        made = Edited(Clip(path, info, index_frames(path, info)), Source.of(path), tmp_path)
        save_clip(made.artifact("decode").path, made.clip, np.zeros(FRAMES, np.int64))
        quads, numbers = np.repeat(QUAD[None], FRAMES, axis=0), np.arange(FRAMES)
        facts = {
            "frames": numbers,
            "times_s": numbers / 30,
            "runs": numbers * 0,
            "quads": quads,
            "interpolated": numbers > FRAMES,
        }
        for fact, values in facts.items():
            save_rows(made.artifact("align").path / fact, values)
        dtype = DEEP if kind.depth > 8 else SHALLOW
        crops = [crop_face(levels(frame, info), QUAD, SIZE).image for _, frame in read_frames(made.clip)]
        matched = [cv2.GaussianBlur(crop.astype(np.float32), (0, 0), 6) for crop in crops]

        def packed(images: list[np.ndarray]) -> np.ndarray:
            return np.ascontiguousarray(to_stored(np.stack(images), dtype).transpose(0, 3, 1, 2))

        made.write("align", "crops", packed(crops), "image")
        made.write("align", "labels", np.ones((FRAMES, 512, 512), np.uint8), "label")
        made.write("occlude", "hidden", np.zeros((FRAMES, 64, 64), np.uint8), "label")
        made.write("stitch", "matched", packed(matched), "image")
        made.write("stitch", "crops", packed([image + change for image in matched]), "image")
        (made.artifact("composite").path).mkdir(parents=True)
        inputs = [made.artifact(stage) for stage in ("decode", "align", "occlude", "stitch")]
        rerun_stage(
            composite_faces, made.artifact("composite").path, made.source, *inputs, CompositeOptions(), MaskOptions()
        )
        return made

    return make


@pytest.mark.parametrize("kind", DEEP_KINDS, ids=name)
def test_an_edit_that_changes_nothing_gives_every_sample_back(kind, edited):
    made = edited(kind, 0.0)
    edit = frame_editor(made.clip, [np.arange(FRAMES)], [made.artifact("composite")])
    for before, (number, frame) in zip(made.samples(made.clip), read_frames(made.clip), strict=True):
        after = writable_planes(edit(number, frame), made.clip.info).samples
        assert made.alpha(number).max() == 1
        assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", DEEP_KINDS, ids=name)
def test_samples_outside_the_patch_stay_whatever_the_edit(kind, edited):
    made = edited(kind, bump())
    edit = frame_editor(made.clip, [np.arange(FRAMES)], [made.artifact("composite")])
    number, frame = next(read_frames(made.clip))
    before, outside = made.samples(made.clip)[number], made.alpha(number) == 0
    after = writable_planes(edit(number, frame), made.clip.info).samples
    assert 0.1 < outside.mean() < 0.6
    for old, new in zip(before, after, strict=True):
        down, across = SIDE // old.shape[0], SIDE // old.shape[1]
        free = outside.reshape(old.shape[0], down, old.shape[1], across).all(axis=(1, 3))
        assert np.array_equal(old[free], new[free])
        assert (old != new).mean() > 0.05


@pytest.mark.parametrize("change", ["identity", "real"])
def test_a_gradient_of_10_bits_keeps_its_codes_through_the_codec(edited, rerun_stage, change):
    made = edited(FULL10, 0.0 if change == "identity" else bump())
    result = made.encoded(EncodeOptions(preset="ultrafast"), rerun_stage)
    assert (result.info.pixel_format, result.info.color_range) == ("yuv420p10le", 2)
    for number, (before, after) in enumerate(zip(made.samples(made.clip), made.samples(result), strict=True)):
        inside = made.alpha(number) > 0.5
        assert len(np.unique(before[0][inside])) > 850
        shown_codes = len(np.unique(after[0][made.alpha(number) > 0]))
        assert shown_codes >= 900
        if change == "identity":
            assert 10 * np.log10(1023**2 / np.mean(np.square(after[0] - before[0])[inside])) >= 45


@pytest.mark.parametrize("kind", [FULL10, *(kind for kind in DEEP_KINDS if kind.colors == SDR)], ids=name)
def test_an_edited_gradient_is_smooth_to_a_code(kind, edited):
    """In the middle the result is generated as a whole: the ramp and the change, with no step of 8 bits in it."""
    made = edited(kind, bump())
    edit = frame_editor(made.clip, [np.arange(FRAMES)], [made.artifact("composite")])
    weights = (1, 0, 0) if kind.pixel_format.startswith("gbrp") else (0.2126, 0.7152, 0.0722)
    expected = ramp()
    expected[30:330, 30:330] += cv2.resize(bump() @ weights, (300, 300), interpolation=cv2.INTER_CUBIC) / 255
    for number, frame in read_frames(made.clip):
        after = writable_planes(edit(number, frame), made.clip.info).samples[0].astype(float)
        error = after - codes(expected, kind)
        fine = error[MIDDLE] - cv2.GaussianBlur(error[MIDDLE], (0, 0), 6)
        assert abs(error[MIDDLE].mean()) < 0.5
        # whole codes alone make it 0.29; whole 8-bit levels would, 1.2 at 10 bits and 4.6 at 12
        assert fine.std() < (0.45 if kind.depth == 10 else 0.9)


def test_an_8_bit_source_is_stored_and_pasted_as_8_bits(edited):
    made = edited(replace(FULL10, codec="libx264", pixel_format="yuv420p"), bump())
    patches = FrameArray.open(made.artifact("composite").path / "patches")
    assert patches.dtype == np.uint8
    assert to_levels(patches.read(0)).dtype == np.uint8


@pytest.mark.parametrize("colors", [PQ, HLG])
def test_the_difference_is_mapped_back_into_hdr(colors, edited):
    """Where the frame's detail goes, the result is what has the wanted SDR image."""
    made = edited(replace(FULL10, colors=colors, full=False), bump())
    edit = frame_editor(made.clip, [np.arange(FRAMES)], [made.artifact("composite")])
    number, frame = next(read_frames(made.clip))
    wanted = crop_face(levels(frame, made.clip.info), QUAD, SIZE).image + bump()
    after = crop_face(levels(edit(number, frame), made.clip.info), QUAD, SIZE).image
    middle = np.s_[96:160, 96:160]
    dark = wanted[middle].max(axis=2) < 250  # beyond, the curve is flat
    assert dark.mean() > 0.3
    assert np.abs(after[middle] - wanted[middle])[dark].mean() < 1.5
    assert np.abs(after - (wanted - bump()))[middle].mean() > 30
