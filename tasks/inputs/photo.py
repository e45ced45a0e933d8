"""The person on a photo from the user."""

from pathlib import Path

import cv2
import numpy as np

from stitchedit.detect.persons import Descriptor
from stitchedit.errors import InputError, NoFaceError
from stitchedit.options.detect import DetectOptions

MAX_SIDE = 1600  # px; a camera's full size adds nothing but seconds
MAX_BYTES = 200_000_000  # of the file; a photo is smaller, a film is not


def read_photo(path: Path) -> np.ndarray:
    """The image as `height width rgb`, upright.

    Raises:
        InputError: there is no such file, or it cannot be read as an image.
    """
    if not path.is_file():
        raise InputError(f"There is no photo {path} for --face. Give its path, or a number or place.")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InputError(f"{path} has {size} bytes, and a photo has {MAX_BYTES} at most. Give a JPEG, PNG or WebP.")
    try:
        coded = np.frombuffer(path.read_bytes(), np.uint8)
        image = cv2.imdecode(coded, cv2.IMREAD_COLOR) if coded.size else None
    except PermissionError as error:
        raise InputError(f"{path}: no permission to read this photo. Change it, or give another.") from error
    except cv2.error as error:
        raise InputError(f"{path} cannot be read as an image ({error.err}). Give a smaller photo.") from error
    if image is None:
        raise InputError(
            f"{path} cannot be read as an image ({size} bytes). Give a JPEG, PNG or WebP photo of the face."
        )
    scale = MAX_SIDE / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def describe_photo(path: Path) -> Descriptor:
    """Descriptor of the largest face of a photo.

    Raises:
        InputError: it cannot be read as an image.
        NoFaceError: it shows no face.
    """
    from tasks.runtime import networks  # noqa: PLC0415 - imports torch, which a check of the photo does without

    faces = networks.face_finder(DetectOptions(backend="dlib")).find(read_photo(path))
    if not faces:
        raise NoFaceError(f"No face in the photo {path}. Give one that shows the face from the front, 100 px or more.")
    return np.asarray(faces[0].descriptor)
