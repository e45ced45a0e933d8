"""Scorer of faces with networks loaded once."""

from functools import cache

from stitchedit.detect.finder import FaceFinder
from stitchedit.measure.appearance import Scorer, appearance_scorer
from stitchedit.nets.attributes import AgeAndGender
from stitchedit.options.detect import DetectOptions
from tasks.runtime import networks
from tasks.runtime.pretrained import pretrained


@cache
def scorer(describe: bool, parsing_size: int) -> Scorer:
    """Scorer of FFHQ crops, parsed at `parsing_size` px. Without `describe`, descriptors are meaningless."""
    files = {name: pretrained()[name].verified() for name in ("age", "gender")}
    options = DetectOptions(backend="dlib", describe_every=1 if describe else 8)
    finder = FaceFinder(networks.landmark_networks(), options)
    attributes = AgeAndGender(files["age"], files["gender"])
    return appearance_scorer(finder, attributes, networks.face_parser("cpu"), parsing_size)
