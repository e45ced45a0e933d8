"""Train the occlusion network on generated faces with synthetic occlusions."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stitchedit.errors import OptimizationError
from stitchedit.nets.face_parsing import FaceParser
from stitchedit.nets.occlusion import OcclusionNet, visible_logits
from stitchedit.train.augment import AugmentOptions, camera
from stitchedit.train.checkpoint import TrainingState
from stitchedit.train.encoder import folded_trunk, normalize_images
from stitchedit.train.occluders import cover_face
from stitchedit.train.samples import Samples


@dataclass(frozen=True)
class OcclusionTraining:
    steps: int = 6000
    batch: int = 12  # faces
    learning_rate: float = 4e-4  # after a warm-up; cosine to 0
    trunk_rate: float = 0.3  # share of it for the trunk, which knows faces already
    overlap_weight: float = 0.5  # of 1 - Dice, beside the cross-entropy
    average: float = 0.997  # of the weights, over steps: what is kept in the end
    clip: float = 1.0  # norm of the gradient
    held_out: int = 200  # the first samples
    checkpoint_every: int = 100  # steps
    seed: int = 5
    turn: float = 12.0  # degrees, at most
    zoom: float = 0.15  # of the side, at most
    augment: AugmentOptions = field(
        default_factory=lambda: AugmentOptions(exposure=0.3, cast=0.1, blur=1.2, shrink=2.5)
    )

    def __post_init__(self) -> None:
        if self.batch < 1 or self.steps < 1:
            raise ValueError(f"occlusion.steps and occlusion.batch must be >= 1, got {self.steps} and {self.batch}")


def start_occlusion_net(parser: FaceParser, options: OcclusionTraining) -> OcclusionNet:
    """A network with the trunk of `parser`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        network = OcclusionNet()
    trunk = folded_trunk(parser)
    own = network.state_dict()
    network.load_state_dict(own | {name: value for name, value in trunk.items() if name in own})
    return network


def train_occlusion_net(
    network: OcclusionNet,
    samples: Samples,
    options: OcclusionTraining,
    saved: TrainingState,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
) -> OcclusionNet:
    """Train `network` in place; give the average of its weights. Resumes from the `saved` state.

    Raises:
        OptimizationError: the loss stopped being finite.
    """
    network = network.to(memory_format=torch.channels_last).requires_grad_(True)  # type: ignore[call-overload]
    average, device = deepcopy(network).requires_grad_(False), network.conv1.weight.device
    groups = _parameter_groups(network, options)
    optimizer, step = torch.optim.Adam(groups, lr=options.learning_rate, betas=(0.9, 0.99), fused=True), 0
    if state := saved.load():
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    while step < options.steps:
        rate = options.learning_rate * min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / options.steps))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        images, covers = (batch.to(device) for batch in covered_batch(samples, options, step))
        losses = _losses(network(images.contiguous(memory_format=torch.channels_last)), covers, options)
        loss = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(loss):
            raise OptimizationError(
                f"The occlusion network's loss became {loss.item()} at step {step} of {options.steps}. "
                f"Lower occlusion.learning_rate (now {options.learning_rate:g})."
            )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), options.clip)
        optimizer.step()
        step += 1
        _update_average(average, network, 1 - min(options.average, (1 + step) / (10 + step)))
        on_step(step, {name: value.item() for name, value in losses.items()})
        if step % options.checkpoint_every == 0 or step == options.steps:
            weights = {"network": network.state_dict(), "average": average.state_dict()}
            saved.save(weights | {"optimizer": optimizer.state_dict(), "step": step})
    return average.eval()


def _parameter_groups(network: OcclusionNet, options: OcclusionTraining) -> list[dict[str, object]]:
    """The head's parameters at the full learning rate, the trunk's at a share of it."""
    head = ("lateral", "context", "merge", "last")
    named = list(network.named_parameters())
    return [
        {"params": [value for name, value in named if name.startswith(head)], "share": 1.0},
        {"params": [value for name, value in named if not name.startswith(head)], "share": options.trunk_rate},
    ]


@torch.no_grad()
def _update_average(average: OcclusionNet, network: OcclusionNet, share: float) -> None:
    for kept, value in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(value, share)


def covered_batch(
    samples: Samples, options: OcclusionTraining, step: int, *, held_out: bool = False
) -> tuple[Tensor, Tensor]:
    """Covered faces, `face rgb 128 128`, and the share of every 2x2 px that is covered, `face 1 64 64`.

    Which, and by what, depends on the seed and the step only.
    """
    noise = np.random.default_rng((options.seed + held_out, step))
    first, last = (0, options.held_out) if held_out else (options.held_out, len(samples))
    made = []
    for _ in range(options.batch):
        face, other = (samples.image(int(index), OcclusionNet.seen) for index in noise.integers(first, last, 2))
        image, cover = cover_face(_moved(face, options, noise), other, noise)
        made.append((camera(image, options.augment, noise), cover))
    images, covers = zip(*made, strict=True)
    return normalize_images(images), F.avg_pool2d(torch.from_numpy(np.stack(covers))[:, None], 2)


@torch.no_grad()
def measure_occlusion_net(network: OcclusionNet, samples: Samples, options: OcclusionTraining) -> dict[str, float]:
    """Intersection over union and false positives of the covered part, on held-out faces."""
    both = either = wrong = clear = 0.0
    for step in range(max(1, 300 // options.batch)):
        images, covers = covered_batch(samples, options, step, held_out=True)
        found, true = visible_logits(network, images) > 0, covers > 0.5
        both += float((found & true).sum())
        either += float((found | true).sum())
        wrong += float((found & ~true).sum())
        clear += float((~true).sum())
    return {"intersection_over_union": both / max(1.0, either), "clear_taken_for_covered": wrong / max(1.0, clear)}


def _losses(logits: Tensor, covers: Tensor, options: OcclusionTraining) -> dict[str, Tensor]:
    found = logits.sigmoid()
    overlap = 2 * (found * covers).sum() + 1
    dice = overlap / (found.sum() + covers.sum() + 1)
    return {
        "cross_entropy": F.binary_cross_entropy_with_logits(logits, covers),
        "overlap": options.overlap_weight * (1 - dice),
    }


def _moved(face: np.ndarray, options: OcclusionTraining, noise: np.random.Generator) -> np.ndarray:
    """Mirror, rotate and zoom."""
    side = len(face)
    if noise.random() < 0.5:
        face = face[:, ::-1].copy()
    turn, zoom = noise.uniform(-options.turn, options.turn), 1 + noise.uniform(-options.zoom, options.zoom)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), turn, zoom)
    return np.asarray(cv2.warpAffine(face, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE))
