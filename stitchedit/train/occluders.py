"""Synthetic occlusions: hands, microphones and objects, with their masks.

No photograph of a hand is among the packages, so hands are modelled: a forearm, a palm and five bent fingers as round
bodies, lit from one side, in the skin color of the face that they are in front of. That faces are covered well enough
by painted things to learn from is what Voo et al. 2022 (arXiv 2205.06218) found.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from stitchedit.arrays import Crop

Rgb = Float32[np.ndarray, "size size rgb"]  # in [0, 255]
Cover = Float32[np.ndarray, "size size"]  # 0 = the face, 1 = what is in front

SIDES = {"bottom": 0.58, "left": 0.17, "right": 0.17, "top": 0.08}  # that a thing reaches in from
CHEEK = (slice(0.5, 0.64), slice(0.36, 0.64))  # of a crop: where skin is
KINDS = {"hand": 0.48, "microphone": 0.1, "thing": 0.22}  # how often; nothing else


@dataclass(frozen=True)
class Painted:
    color: Rgb
    cover: Cover


@dataclass(frozen=True)
class Body:
    """A round stick from one point to another, px."""

    start: np.ndarray
    end: np.ndarray
    radius: tuple[float, float]  # at both ends
    height: float  # above the image, in radii; the higher one hides the lower one


def cover_face(face: Crop, other: Crop, noise: np.random.Generator) -> tuple[Crop, Cover]:
    """Put something in front of `face` (nothing, one time in five), and return its mask.

    Args:
        other: another face of that size, for other skin and for patterns.
    """
    kind = noise.choice([*KINDS, "nothing"], p=[*KINDS.values(), 1 - sum(KINDS.values())])
    image, cover = face.astype(np.float32), np.zeros(face.shape[:2], np.float32)
    painters: dict[str, Callable[[Crop, Crop, np.random.Generator], Painted]] = {
        "hand": _hand,
        "microphone": _microphone,
        "thing": _thing,
    }
    if kind in painters:
        for _ in range(2 if noise.random() < 0.15 else 1):
            painted = _filmed(painters[kind](face, other, noise), noise)
            image = _shadow(image, painted.cover, noise)
            image += painted.cover[..., None] * (painted.color - image)
            cover = np.maximum(cover, painted.cover)
    if noise.random() < 0.25:
        image, cover = _beyond_frame(image, cover, noise)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), cover


def _hand(face: Crop, other: Crop, noise: np.random.Generator) -> Painted:
    side = len(face)
    target = noise.uniform((0.22, 0.3), (0.78, 0.92)) * side
    along = _turned(_unit(target - _entry(side, noise)), noise.normal(0, 0.3))
    palm = noise.uniform(0.085, 0.165) * side
    thumb = noise.choice((-1.0, 1.0))
    fist = noise.random() < 0.25
    length = palm * (noise.uniform(0.5, 1.0) if fist else noise.uniform(1.5, 2.3))
    thick = palm * noise.uniform(0.2, 0.26)
    spread = noise.choice((0.0, 0.08, 0.22)) + noise.normal(0, 0.03)
    center = target - along * (length * noise.uniform(0.2, 0.9) + palm)
    across = _turned(along, np.pi / 2)

    only_fingers = noise.random() < 0.2
    bodies = [] if only_fingers else _arm_and_palm(center, along, palm, side, noise)
    curl = noise.normal(0, 0.25) + (0.5 if fist else 0)
    for place, relative in zip((-0.75, -0.25, 0.25, 0.75), (0.8, 1.0, 0.95, 0.75), strict=True):
        if noise.random() < 0.06:
            continue
        base = center + along * palm * 0.75 + across * palm * place * thumb
        direction = _turned(along, place * thumb * spread * 2 + noise.normal(0, 0.04))
        bodies += _finger(base, base + direction * length * relative, thick * noise.uniform(0.9, 1.1), curl, noise)
    if noise.random() < 0.75:
        base = center - across * palm * 0.75 * thumb - along * palm * 0.2
        direction = _turned(along, -thumb * noise.uniform(0.3, 1.2))
        bodies += _finger(
            base, base + direction * palm * noise.uniform(1.0, 1.4), thick * 1.2, noise.normal(0, 0.2), noise
        )
    skin = _skin(face, noise) if noise.random() < 0.75 else _skin(other, noise)
    if noise.random() < 0.06:
        skin = noise.uniform(10, 240, 3).astype(np.float32)  # a glove
    return _lit(bodies, skin, side, noise)


def _arm_and_palm(
    center: np.ndarray, along: np.ndarray, palm: float, side: int, noise: np.random.Generator
) -> list[Body]:
    wrist = center - along * palm * noise.uniform(1.0, 1.5)
    elbow = wrist - _turned(along, noise.normal(0, 0.25)) * side * 1.5
    arm = Body(elbow, wrist, (palm * 0.95, palm * noise.uniform(0.55, 0.75)), 0.0)
    across = _turned(along, np.pi / 2)
    halves = [
        Body(wrist + across * palm * off, center + along * palm * 0.6 + across * palm * off, (palm * 0.5,) * 2, 0.1)
        for off in (-0.4, 0.0, 0.4)
    ]
    return [arm, *halves]


def _finger(base: np.ndarray, tip: np.ndarray, thick: float, curl: float, noise: np.random.Generator) -> list[Body]:
    """Three phalanges from `base` towards `tip`, each bent a little further by about `curl`."""
    length, direction = float(np.linalg.norm(tip - base)), _unit(tip - base)
    bodies, start, height = [], base, 0.3 + noise.uniform(0, 0.4)
    for number, share in enumerate((0.45, 0.32, 0.23)):
        end = start + direction * length * share
        taper = (thick * (1 - 0.1 * number), thick * (1 - 0.1 * (number + 1)))
        bodies.append(Body(start, end, taper, height + 0.05 * number))
        start, direction = end, _turned(direction, curl * noise.uniform(0.5, 1.0))
    return bodies


def _microphone(face: Crop, other: Crop, noise: np.random.Generator) -> Painted:
    """A ball on a stick, before the mouth."""
    del other
    side = len(face)
    ball = noise.uniform((0.3, 0.55), (0.7, 0.95)) * side
    size = noise.uniform(0.05, 0.13) * side
    away = _unit(_entry(side, noise) - ball)
    stick = Body(ball, ball + away * side * 1.5, (size * noise.uniform(0.45, 0.75),) * 2, 0.0)
    dark = noise.random() < 0.7
    color = (noise.uniform(10, 90) + noise.normal(0, 8, 3) if dark else noise.uniform(0, 255, 3)).astype(np.float32)
    head = _lit([Body(ball, ball + away * size * 0.3, (size, size), 1.0)], color, side, noise)
    grid = noise.standard_normal((side, side), np.float32) * noise.uniform(0, 25)
    rod = _lit([stick], noise.uniform(5, 120) * np.ones(3, np.float32), side, noise)
    return _over(rod, Painted(head.color + grid[..., None], head.cover))


def _thing(face: Crop, other: Crop, noise: np.random.Generator) -> Painted:
    """A flat shape of any pattern: a phone, a cup, a sheet, a strap."""
    side = len(face)
    center = noise.uniform((0.15, 0.25), (0.85, 1.0)) * side
    axes = noise.uniform(0.05, 0.32, 2) * side
    turn = noise.uniform(0, np.pi)
    shape = np.zeros((side, side), np.uint8)
    form = noise.choice(["ellipse", "box", "polygon", "stick"])
    if form == "ellipse":
        cv2.ellipse(shape, (tuple(center), tuple(2 * axes), float(np.degrees(turn))), 255, -1, cv2.LINE_AA)
    elif form == "stick":
        away = _unit(_entry(side, noise) - center)
        ends = np.rint([center, center + away * 1.5 * side]).astype(int)
        cv2.line(shape, tuple(ends[0]), tuple(ends[1]), 255, max(2, int(axes.min() * 0.7)), cv2.LINE_AA)
    else:
        count = 4 if form == "box" else int(noise.integers(3, 9))
        angles = np.sort(noise.uniform(0, 2 * np.pi, count)) if form == "polygon" else np.arange(4) * np.pi / 2
        corners = np.stack([np.cos(angles + np.pi / 4), np.sin(angles + np.pi / 4)], 1) * axes * 1.4
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        cv2.fillPoly(shape, [np.rint(corners @ rotation.T + center).astype(np.int32)], 255, cv2.LINE_AA)
    return Painted(_pattern(face, other, noise), shape.astype(np.float32) / 255)


def _pattern(face: Crop, other: Crop, noise: np.random.Generator) -> Rgb:
    side = len(face)
    kind = noise.choice(["plain", "image", "clouds", "stripes", "skin"])
    ramp = np.linspace(-1, 1, side, dtype=np.float32) * noise.uniform(-50, 50)
    slope = ramp[:, None] if noise.random() < 0.5 else ramp[None]
    base = _skin(face, noise) if kind == "skin" else noise.uniform(0, 255, 3).astype(np.float32)
    flat: np.ndarray = np.broadcast_to(base, (side, side, 3)).astype(np.float32)
    if kind == "image":
        zoom = int(noise.uniform(0.2, 0.9) * side)
        left, top = noise.integers(0, side - zoom, 2)
        return cv2.resize(other[top : top + zoom, left : left + zoom], (side, side)).astype(np.float32)
    if kind == "clouds":
        flat = flat + _clouds(side, noise.uniform(2, 20), noise)[..., None] * noise.uniform(-40, 40, 3)
    if kind == "stripes":
        waves = np.sin(np.linspace(0, noise.uniform(5, 80), side, dtype=np.float32))
        flat = flat + (waves[:, None] if noise.random() < 0.5 else waves[None])[..., None] * noise.uniform(-60, 60, 3)
    return np.asarray(flat + slope[..., None], np.float32)


def _lit(bodies: Sequence[Body], color: np.ndarray, side: int, noise: np.random.Generator) -> Painted:
    """Round bodies of one color, lit from one side, darker where they turn away and where they touch."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    height = np.full((side, side), -1e3, np.float32)
    cover, round_of = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    for body in bodies:
        axis = body.end - body.start
        share = ((columns - body.start[0]) * axis[0] + (rows - body.start[1]) * axis[1]) / max(1e-6, float(axis @ axis))
        share = np.clip(share, 0, 1)
        apart = np.hypot(columns - body.start[0] - share * axis[0], rows - body.start[1] - share * axis[1])
        radius = body.radius[0] + share * (body.radius[1] - body.radius[0])
        rounded = np.sqrt(np.clip(1 - np.square(apart / radius), 0, 1))
        top = np.where(apart < radius, radius * (rounded + body.height), -1e3)
        above = top > height
        height, round_of = np.where(above, top, height), np.where(above, rounded, round_of)
        cover = np.maximum(cover, np.clip(radius - apart + 0.5, 0, 1))
    smooth = cv2.GaussianBlur(np.maximum(height, 0), (0, 0), 0.8)
    down, right = np.gradient(smooth)
    light = _unit(np.array([noise.normal(), noise.normal(-0.5), noise.uniform(0.6, 2)]))
    lambert = (-right * light[0] - down * light[1] + light[2]) / np.sqrt(right**2 + down**2 + 1)
    contrast, edge = noise.uniform(0.1, 0.6), noise.uniform(0.1, 0.6)
    shade = 1 + contrast * (np.clip(lambert, 0, 1) - light[2]) - edge * np.square(1 - round_of)
    shade = shade + _clouds(side, noise.uniform(2, 12), noise) * noise.uniform(0, 0.08)
    warm = np.array([1.0, noise.uniform(0.9, 1.0), noise.uniform(0.85, 1.0)], np.float32)  # blood in the shades
    tint = warm ** np.clip(1.5 * (1 - shade), 0, 1)[..., None]
    return Painted((color * shade[..., None] * tint).astype(np.float32), cover)


def _filmed(painted: Painted, noise: np.random.Generator) -> Painted:
    """Soften outlines and, sometimes, add motion blur."""
    if noise.random() < 0.3:
        length = int(noise.integers(3, 12))
        kernel = np.zeros((length, length), np.float32)
        turn = noise.uniform(0, np.pi)
        middle, reach = (length - 1) / 2, np.array([np.cos(turn), np.sin(turn)]) * (length - 1) / 2
        ends = np.rint([middle - reach, middle + reach]).astype(int)
        cv2.line(kernel, tuple(ends[0]), tuple(ends[1]), 1.0)
        kernel /= kernel.sum()
    else:
        kernel = cv2.getGaussianKernel(7, noise.uniform(0.3, 1.2)).astype(np.float32)
        kernel = kernel @ kernel.T
    layers = np.concatenate([painted.color * painted.cover[..., None], painted.cover[..., None]], axis=2)
    layers = cv2.filter2D(layers, -1, kernel)
    cover = layers[..., 3]
    return Painted(layers[..., :3] / np.maximum(cover, 1e-4)[..., None], cover)


def _shadow(image: Rgb, cover: Cover, noise: np.random.Generator) -> Rgb:
    if noise.random() < 0.35:
        return image
    shift = np.array([[1, 0, noise.normal(0, 3)], [0, 1, noise.normal(2, 3)]])
    dark = cv2.GaussianBlur(cv2.warpAffine(cover, shift, cover.shape[::-1]), (0, 0), noise.uniform(1, 7))
    return np.asarray(image * (1 - noise.uniform(0.05, 0.5) * dark[..., None]), np.float32)


def _beyond_frame(image: Rgb, cover: Cover, noise: np.random.Generator) -> tuple[Rgb, Cover]:
    """Rows or columns at one side that repeat the outermost one, as crops have that reach beyond the frame."""
    rows = int(noise.uniform(0.02, 0.25) * len(cover))
    turns = int(noise.choice([0, 1, 2, 3], p=[0.4, 0.15, 0.3, 0.15]))
    made = [np.rot90(one, turns).copy() for one in (image, cover)]
    for one in made:
        one[:rows] = one[rows]
    image, cover = (np.ascontiguousarray(np.rot90(one, -turns)) for one in made)
    return image, cover


def _over(below: Painted, above: Painted) -> Painted:
    color = below.color + above.cover[..., None] * (above.color - below.color)
    return Painted(color, np.maximum(below.cover, above.cover))


def _skin(face: Crop, noise: np.random.Generator) -> np.ndarray:
    """Random color near that of the cheeks and nose."""
    rows, columns = (slice(int(part.start * len(face)), int(part.stop * len(face))) for part in CHEEK)
    median = np.median(face[rows, columns].reshape(-1, 3), axis=0)
    return np.asarray(median * np.exp(noise.normal(0, 0.15) + noise.normal(0, 0.03, 3)), np.float32)


def _clouds(side: int, cells: float, noise: np.random.Generator) -> Cover:
    """Smooth noise of mean 0 and deviation 1."""
    count = max(2, int(cells))
    coarse = noise.standard_normal((count, count), np.float32)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC))


def _entry(side: int, noise: np.random.Generator) -> np.ndarray:
    """A point just outside the crop."""
    along, beyond = noise.uniform(0, side), side * 0.2
    places = {
        "bottom": (along, side + beyond),
        "top": (along, -beyond),
        "left": (-beyond, along),
        "right": (side + beyond, along),
    }
    return np.array(places[str(noise.choice(list(SIDES), p=list(SIDES.values())))])


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(1e-6, float(np.linalg.norm(vector)))


def _turned(vector: np.ndarray, angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([cosine * vector[0] - sine * vector[1], sine * vector[0] + cosine * vector[1]])
