"""Who is on a photo that a user gave?"""

from pathlib import Path

import cv2
import numpy as np

from stitchedit.errors import InputError, NoFaceError
from stitchedit.options.landmarks import LandmarkOptions
from stitchedit.persons import Descriptor
from tasks import networks

MAX_SIDE = 1600  # px; a camera's full size adds nothing but seconds


def read_photo(path: Path) -> np.ndarray:
    """The picture as `height width rgb`, upright.

    Raises:
        InputError: it cannot be read as a picture.
    """
    coded = np.frombuffer(path.read_bytes(), np.uint8)
    picture = cv2.imdecode(coded, cv2.IMREAD_COLOR) if coded.size else None
    if picture is None:
        raise InputError(f"{path} cannot be read as a picture. Give a JPEG, PNG or WebP photo of the face.")
    scale = MAX_SIDE / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def describe_photo(path: Path) -> Descriptor:
    """Descriptor of the largest face of a photo.

    Raises:
        InputError: it cannot be read as a picture.
        NoFaceError: it shows no face.
    """
    faces = networks.face_finder(LandmarkOptions(backend="dlib")).find(read_photo(path))
    if not faces:
        raise NoFaceError(f"No face in the photo {path}. Give one that shows the face from the front, 100 px or more.")
    return np.asarray(faces[0].descriptor)
