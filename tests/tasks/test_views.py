"""Footage that lies, is mirrored, has oblong pixels or few frames per second: the same face, found and cut alike."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from stitchedit.images.warp import square_sides
from stitchedit.options.align import AlignOptions
from stitchedit.options.detect import DetectOptions
from stitchedit.options.shots import ShotOptions
from storage.artifact import Source
from storage.store import Store
from storage.video.decode_options import DecodeOptions
from storage.video.info import probe
from tasks.align import align_faces
from tasks.decode import decode_video
from tasks.detect import detect_faces
from tasks.inputs.faces import open_faces

FRAMES = 2
ONE = 1 << 16
# how the upright image is coded, and the display matrix and pixel aspect that undo it
VIEWS = {
    "mirrored": (np.fliplr, (-ONE, 0, 0, ONE), None),
    "upside down and mirrored": (np.flipud, (ONE, 0, 0, -ONE), None),
    "front camera": (lambda image: image.swapaxes(0, 1), (0, ONE, ONE, 0), None),
    "front camera, the other way": (lambda image: np.rot90(image, 2).swapaxes(0, 1), (0, -ONE, -ONE, 0), None),
    "pixels twice as wide": (lambda image: resized(image, 320, 360), None, Fraction(2)),
    "pixels twice as high": (lambda image: resized(image, 640, 180), None, Fraction(1, 2)),
    "lying, with oblong pixels": (lambda image: resized(np.rot90(image), 360, 480), (0, ONE, -ONE, 0), Fraction(3, 4)),
}


def resized(image, width, height):
    return cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def images(packaged):
    with av.open(str(packaged("single_face.mp4"))) as source:
        return [frame.to_ndarray(format="rgb24") for frame, _ in zip(source.decode(video=0), range(6), strict=False)]


def write(path, images, matrix=None, aspect=None, rate=25):
    with av.open(str(path), "w") as target:
        height, width = images[0].shape[:2]
        video = target.add_stream("libx264", rate=rate, width=width, height=height, options={"crf": "8"})
        video.pix_fmt, video.time_base = "yuv420p", Fraction(1, rate)
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        if matrix:
            a, b, c, d = matrix
            video.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
            frame.pts = number
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
    return path


def aligned(path, folder):
    """Faces of a clip, by the stages."""
    store, source = Store.at(folder), Source.of(path)
    clip = decode_video.fn(store, source, DecodeOptions(), ShotOptions())
    detected = detect_faces.fn(store, source, clip, DetectOptions(backend="dlib"))
    return open_faces(align_faces.fn(store, source, clip, detected, AlignOptions(size=256), "cpu"))


@pytest.fixture(scope="module")
def plain(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return aligned(write(folder / "in.mp4", images[:FRAMES]), folder / "store")


@pytest.mark.parametrize("name", VIEWS)
def test_the_crop_is_that_of_the_upright_image(name, images, plain, tmp_path):
    code, matrix, aspect = VIEWS[name]
    path = write(tmp_path / "in.mp4", [code(image) for image in images[:FRAMES]], matrix, aspect)

    faces = aligned(path, tmp_path / "store")

    assert probe(path).view.size == (640, 360)
    assert faces.frames.tolist() == [0, 1]
    for row in range(FRAMES):
        assert np.abs(faces.crops.read(row).astype(int) - plain.crops.read(row)).mean() < 4
        assert (faces.labels.read(row) == plain.labels.read(row)).mean() > 0.95
    places = probe(path).view.from_coded(faces.quads)
    np.testing.assert_allclose(square_sides(places), square_sides(plain.quads), rtol=0.03)


@pytest.mark.parametrize("rate", [1, 2])
def test_faces_of_slow_footage_are_found(rate, images, tmp_path):
    path = write(tmp_path / "in.mp4", images, rate=rate)

    faces = aligned(path, tmp_path / "store")

    assert faces.frames.tolist() == list(range(6))
    assert faces.times_s.tolist() == [number / rate for number in range(6)]
    assert len(set(faces.runs.tolist())) == 1
