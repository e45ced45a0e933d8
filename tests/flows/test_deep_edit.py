"""An edit of 10-bit HDR footage from file to file: a real face, real networks, few steps."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from tiny import TINY

from flows.edit_request import Edit, EditRequest
from stitchedit.composite import patch_from
from stitchedit.images.depth import to_levels
from stitchedit.images.warp import crop_face
from storage.arrays.frame_array import FrameArray
from storage.video.index import Clip, index_frames, read_frames
from storage.video.info import probe
from storage.video.planes import readable_planes
from tasks.inputs.faces import open_faces

FRAMES, WIDTH, HEIGHT = 3, 640, 360
TO_BT2020 = np.array([(0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.088, 0.8956)])  # BT.2087
KR, KB = 0.2627, 0.0593


def pq_signal(nits: np.ndarray) -> np.ndarray:
    """BT.2100-2 table 4, inverse EOTF."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    root = (nits / 10000) ** m1
    return ((c1 + c2 * root) / (1 + c3 * root)) ** m2


def shown_light(source: np.ndarray) -> np.ndarray:
    """Light of an SDR image, linear BT.709, 1 = 203 cd/m2."""
    return (source / 255) ** 2.4


def hdr_frame(source: np.ndarray) -> av.VideoFrame:
    """The same light as PQ, BT.2020, 10 bits, limited range."""
    signal = pq_signal(203 * (shown_light(source) @ TO_BT2020.T))
    red, green, blue = np.moveaxis(signal, -1, 0)
    luma = KR * red + (1 - KR - KB) * green + KB * blue
    chroma = [(blue - luma) / (2 - 2 * KB), (red - luma) / (2 - 2 * KR)]
    halved = [values.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean(axis=(1, 3)) for values in chroma]
    frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p10le")
    codes = [(219 * luma + 16) * 4, *((224 * values + 128) * 4 for values in halved)]
    for plane, values in zip(frame.planes, codes, strict=True):
        padded = np.zeros((plane.height, plane.line_size // 2), np.uint16)
        padded[:, : values.shape[1]] = np.rint(values)
        plane.update(padded.tobytes())
    return frame


@pytest.fixture(scope="module")
def sources(packaged: Callable[[str], Path]) -> list[np.ndarray]:
    """Smooth frames of a face, with more levels than 8 bits."""
    with av.open(str(packaged("single_face.mp4"))) as clip:
        frames = [frame.to_ndarray(format="rgb24") for frame, _ in zip(clip.decode(video=0), range(FRAMES))]  # noqa: B905
    return [cv2.GaussianBlur(frame.astype(np.float32), (0, 0), 1.0) for frame in frames]


@pytest.fixture(scope="module")
def finished_hdr(sources, edit_once, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hdr")
    with av.open(str(folder / "hdr.mp4"), "w") as target:
        options = {"x265-params": "lossless=1:log-level=error", "preset": "ultrafast"}
        video = target.add_stream("libx265", rate=30, width=WIDTH, height=HEIGHT, options=options)
        video.pix_fmt, context = "yuv420p10le", video.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1
        for number, source in enumerate(sources):
            frame = hdr_frame(source)
            frame.pts, frame.time_base = number, Fraction(1, 30)
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
    return edit_once(
        EditRequest(
            video=folder / "hdr.mp4", edits=[Edit(direction="smile", strength=2)], output=folder / "out.mp4",
            store=str(folder / "store"), options=TINY,
        )
    )  # fmt: skip


def planes_of(path: Path) -> list[list[np.ndarray]]:
    info = probe(path)
    clip = Clip(path, info, index_frames(path, info))
    return [[plane.astype(int) for plane in readable_planes(frame, info).samples] for _, frame in read_frames(clip)]


def test_networks_see_an_sdr_image(finished_hdr, sources):
    faces = open_faces(finished_hdr.artifacts["align"])
    assert faces.crops.dtype == np.uint16
    for number, source in enumerate(sources):
        light = shown_light(source) @ TO_BT2020.T
        mapped = light * (1 + light / (10000 / 203) ** 2) / (1 + light)  # Reinhard et al. 2002
        expected = 255 * (mapped @ np.linalg.inv(TO_BT2020).T).clip(0, None) ** (1 / 2.4)
        crop = crop_face(expected.astype(np.float32), faces.quads[number], faces.size).image
        found = to_levels(faces.crops.read(number)).transpose(1, 2, 0)
        assert np.abs(found.clip(0, 255) - crop).mean() < 1.5


def test_the_result_is_hdr_with_the_bit_depth_of_its_source(finished_hdr):
    before, after = (probe(path) for path in (finished_hdr.request.video, finished_hdr.output))
    for name in ("pixel_format", "color_primaries", "color_transfer", "color_matrix", "color_range"):
        assert getattr(before, name) == getattr(after, name)
    assert after.pixel_format == "yuv420p10le"


def test_the_face_changes_at_full_depth_and_the_rest_is_unchanged(finished_hdr):
    folder = finished_hdr.artifacts["composite"].path
    patches, places = (FrameArray.open(folder / name) for name in ("patches", "places"))
    sources, results = (planes_of(path) for path in (finished_hdr.request.video, finished_hdr.output))
    assert patches.dtype == np.uint16
    for number, (before, after) in enumerate(zip(sources, results, strict=True)):
        patch = patch_from(patches.read(number), tuple(places.read(number)))
        alpha = np.zeros((HEIGHT, WIDTH), np.float32)
        height, width = patch.alpha.shape
        alpha[patch.top : patch.top + height, patch.left : patch.left + width] = patch.opacity
        inside, outside = alpha > 0.9, alpha == 0
        assert np.abs(after[0] - before[0])[inside].mean() > 4
        assert np.sqrt(np.square(after[0] - before[0])[outside].mean()) < 4
        codes = [len(np.unique(planes[0][inside])) for planes in (before, after)]
        assert codes[1] > 0.9 * codes[0] > 300
        assert np.bincount(after[0][inside] % 4, minlength=4).min() > 0.2 * inside.sum()
