"""dlib's face recognition network, 128 numbers a face.

King 2017 (blog.dlib.net, "High Quality Face Recognition with Deep Metric Learning"), the file
`dlib_face_recognition_resnet_model_v1.dat`.
"""

from pathlib import Path

import dlib
import numpy as np

from stitchedit.arrays import Frame
from stitchedit.errors import WeightsError

CHIP_SIZE = 150  # px, what the network takes
CHIP_PADDING = 0.25  # of the face's size, on every side
SAME_PERSON = 0.6  # distance of descriptors, in dlib's scale, below which two faces are one person's


class FaceRecognizer:
    """Descriptors of faces, from a frame and their landmarks.

    `embed` is of unit length, as the identity metrics want it; `describe` is as dlib gives it, about 1.4 long, which is
    the scale of `SAME_PERSON`.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._network = dlib.face_recognition_model_v1(str(path))
        except RuntimeError as error:
            raise WeightsError(f"{path} is not dlib's face recognition network: {error}") from error

    def describe(self, frame: Frame, landmarks: np.ndarray) -> np.ndarray:
        """Descriptor in dlib's scale, `128`, float64."""
        chip = face_chip(frame, landmarks, CHIP_SIZE, CHIP_PADDING)
        return np.asarray(self._network.compute_face_descriptor(chip), dtype=np.float64)

    def embed(self, frame: Frame, landmarks: np.ndarray) -> np.ndarray:
        """Embedding of unit length, `128`, float64."""
        descriptor = self.describe(frame, landmarks)
        return descriptor / np.linalg.norm(descriptor)  # type: ignore[no-any-return]


def face_chip(frame: Frame, landmarks: np.ndarray, size: int, padding: float) -> np.ndarray:
    """The face turned upright and scaled, `size size rgb`, as dlib's networks were trained on.

    `landmarks` are 68 or 5 points `point xy` in the frame's pixels.
    """
    points = [dlib.point(x, y) for x, y in np.rint(landmarks).astype(int).tolist()]
    left, top = np.floor(landmarks.min(axis=0)).astype(int).tolist()
    right, bottom = np.ceil(landmarks.max(axis=0)).astype(int).tolist()
    face = dlib.full_object_detection(dlib.rectangle(left, top, right, bottom), points)
    chip = dlib.extract_image_chip(np.ascontiguousarray(frame), dlib.get_face_chip_details(face, size, padding))
    return np.ascontiguousarray(chip)
