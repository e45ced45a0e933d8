"""Each network loaded once per process, from files whose SHA-256 is checked first."""

from functools import cache
from pathlib import Path

import numpy as np
import torch

from stitchedit.detect.finder import FaceFinder, LandmarkNetworks
from stitchedit.nets.encoder import Encoder, load_encoder
from stitchedit.nets.face_parsing import FaceParser, read_face_parser
from stitchedit.nets.lpips import LPIPS
from stitchedit.nets.mobile_stylegan import MobileStyleGAN, load_heads
from stitchedit.nets.mobile_stylegan_ir import read_mobile_stylegan
from stitchedit.nets.occlusion import OcclusionNet, load_occlusion_net
from stitchedit.options.detect import DetectOptions
from storage.weights.state_dict import load_tensors
from tasks.runtime.directions import read_own_directions
from tasks.runtime.memory import keep_freed_memory
from tasks.runtime.pretrained import pretrained

GENERATOR = (
    "mobile_stylegan_mapping",
    "mobile_stylegan_mapping_numbers",
    "mobile_stylegan_synthesis",
    "mobile_stylegan_synthesis_numbers",
    "mobile_stylegan_heads",
)
LANDMARKS = ("dlib_landmarks", "dlib_detector", "dlib_recognition")
PARSING = ("face_parsing",)
FACES = (*LANDMARKS, *PARSING)
PERCEPTUAL = ("lpips_alex",)
ATTRIBUTES = ("age", "gender")
ENCODER = ("encoder",)
OCCLUSION = ("occlusion",)
DIRECTIONS = ("directions",)


def choose_device(device: str) -> torch.device:
    """`auto` is a GPU when there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


@cache
def generator(device: str) -> MobileStyleGAN:
    """The generator as published, with the project's heads. Tune a copy, never this."""
    keep_freed_memory()
    files = {name: pretrained()[name].verified() for name in GENERATOR}
    heads = {name: torch.from_numpy(value) for name, value in load_tensors(files["mobile_stylegan_heads"]).items()}
    made = read_mobile_stylegan(files["mobile_stylegan_mapping"], files["mobile_stylegan_synthesis"])
    load_heads(made, heads)
    # Depthwise convolutions run about twice as fast on a CPU with channels last (benchmarks/generator.py).
    return made.to(choose_device(device), memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@cache
def encoder(device: str) -> Encoder:
    """Crops to codes of `generator`."""
    weights = load_tensors(pretrained()["encoder"].verified())
    made = load_encoder({name: torch.from_numpy(value) for name, value in weights.items()})
    return made.to(choose_device(device), memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@cache
def occlusion_net(device: str) -> OcclusionNet:
    """Occlusion network."""
    weights = load_tensors(pretrained()["occlusion"].verified())
    made = load_occlusion_net({name: torch.from_numpy(value) for name, value in weights.items()})
    return made.to(choose_device(device), memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@cache
def perceptual(device: str) -> LPIPS:
    """LPIPS on AlexNet."""
    return LPIPS.from_file(pretrained()["lpips_alex"].verified()).to(choose_device(device))


@cache
def face_parser(device: str) -> FaceParser:
    """19-class face parsing."""
    return read_face_parser(pretrained()["face_parsing"].verified()).to(choose_device(device))


def landmark_networks() -> LandmarkNetworks:
    """dlib's files, for a `FaceFinder`."""
    predictor, detector, recognition = (pretrained()[name].verified() for name in LANDMARKS)
    return LandmarkNetworks(predictor, detector, recognition)


@cache
def face_finder(options: DetectOptions) -> FaceFinder:
    """dlib's detectors and landmarks."""
    return FaceFinder(landmark_networks(), options)


@cache
def directions() -> dict[str, torch.Tensor]:
    """Every edit direction, `layer channel`, by name."""
    tensors: dict[str, np.ndarray] = load_tensors(pretrained()["directions"].verified())
    return {name: torch.from_numpy(value) for name, value in tensors.items()}


def own_directions(path: Path) -> dict[str, torch.Tensor]:
    """Directions of the user's own file, `layer channel`, by name.

    Raises:
        InputError: it is no such file, or gives a packaged direction's name to another one.
    """
    return {name: torch.from_numpy(values) for name, values in read_own_directions(path).items()}
