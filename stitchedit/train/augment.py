"""Augmentation that makes generated faces look filmed."""

from dataclasses import dataclass

import cv2
import numpy as np

from stitchedit.arrays import Frame


@dataclass(frozen=True)
class AugmentOptions:
    """Largest amounts; sampled per image. `chance` is the probability of each kind."""

    chance: float = 0.5
    shift: float = 0.015  # of the side
    turn: float = 2.0  # degrees
    zoom: float = 0.03
    exposure: float = 0.08  # of the logarithm of the gain; small: codes should keep what light there is
    cast: float = 0.04  # the same, for each channel by itself
    saturation: float = 0.15
    blur: float = 2.0  # px of a 256 px crop, sigma
    shrink: float = 4.0  # times, before it is enlarged again
    noise: float = 8.0  # 8-bit levels, sigma
    jpeg: tuple[int, int] = (25, 90)  # quality; blocks as video compression leaves them
    occluder: float = 0.3  # of the side; half as often as the others


def film(image: Frame, options: AugmentOptions, noise: np.random.Generator) -> Frame:
    """Make `image`, uint8 `size size rgb`, look filmed."""

    def happens(share: float = 1.0) -> bool:
        return bool(noise.random() < options.chance * share)

    if happens():
        image = _move(image, options, noise)
    if happens(0.5):
        image = _occlude(image, options, noise)
    return camera(image, options, noise)


def camera(image: Frame, options: AugmentOptions, noise: np.random.Generator) -> Frame:
    """Apply light, blur, scaling, grain and compression; outlines stay."""

    def happens() -> bool:
        return bool(noise.random() < options.chance)

    if happens():
        image = _light(image, options, noise)
    if happens():
        image = cv2.GaussianBlur(image, (0, 0), noise.uniform(0.1, options.blur))
    if happens():
        side = len(image)
        small = cv2.resize(image, (int(side / noise.uniform(1, options.shrink)),) * 2, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
    if happens():
        grain = noise.standard_normal(image.shape, np.float32) * noise.uniform(0, options.noise)
        image = np.clip(image + grain, 0, 255).astype(np.uint8)
    if happens():
        _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(noise.integers(*options.jpeg))])
        image = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
    return image


def _move(image: Frame, options: AugmentOptions, noise: np.random.Generator) -> Frame:
    """Shift, rotate and zoom a little, as inaccurate landmarks do."""
    side = len(image)
    turn, zoom = noise.uniform(-options.turn, options.turn), 1 + noise.uniform(-options.zoom, options.zoom)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), turn, zoom)
    matrix[:, 2] = matrix[:, 2] + noise.uniform(-options.shift, options.shift, 2) * side
    moved = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved)


def _light(image: Frame, options: AugmentOptions, noise: np.random.Generator) -> Frame:
    values = image.astype(np.float32)
    gray = values.mean(axis=2, keepdims=True)
    values = gray + (values - gray) * (1 + noise.uniform(-options.saturation, options.saturation))
    gain = noise.uniform(-options.exposure, options.exposure) + noise.uniform(-options.cast, options.cast, 3)
    return np.asarray(np.clip(values * np.exp(gain), 0, 255), np.uint8)


def _occlude(image: Frame, options: AugmentOptions, noise: np.random.Generator) -> Frame:
    """An ellipse of one color in front, anywhere: a hand, a microphone, a strand of hair."""
    side = len(image)
    center = noise.uniform(0.1, 0.9, 2) * side
    axes = noise.uniform(0.04, options.occluder / 2, 2) * side
    color = noise.uniform(0, 255, 3) if noise.random() < 0.5 else image[tuple(noise.integers(0, side, 2))]
    covered = image.copy()
    turned = (tuple(map(float, center)), tuple(map(float, 2 * axes)), float(noise.uniform(0, 180)))
    cv2.ellipse(covered, turned, tuple(map(float, color)), thickness=-1, lineType=cv2.LINE_AA)
    return covered
